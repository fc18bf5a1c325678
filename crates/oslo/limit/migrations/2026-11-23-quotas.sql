-- Limits that an operator set for a project.
CREATE TABLE quota_limits (
    project_id VARCHAR(255) NOT NULL,
    resource VARCHAR(190) NOT NULL,
    hard_limit BIGINT NOT NULL,
    PRIMARY KEY (project_id, resource)
);

-- Limits of a class; the class "default" holds for every project.
CREATE TABLE quota_classes (
    class VARCHAR(255) NOT NULL,
    resource VARCHAR(190) NOT NULL,
    hard_limit BIGINT NOT NULL,
    PRIMARY KEY (class, resource)
);

-- One row per project that reserves: who holds it counts and writes alone.
CREATE TABLE quota_locks (
    project_id VARCHAR(255) NOT NULL PRIMARY KEY,
    holder BIGINT NOT NULL
);
