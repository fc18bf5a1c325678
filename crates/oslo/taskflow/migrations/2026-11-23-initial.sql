CREATE TABLE flows (
    id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    resource_id VARCHAR(255) NOT NULL,
    request_id VARCHAR(255) NOT NULL,
    state_json TEXT NOT NULL,
    step BIGINT NOT NULL,
    direction VARCHAR(8) NOT NULL,
    attempts BIGINT NOT NULL,
    owner VARCHAR(255) NOT NULL,
    lease_until BIGINT NOT NULL,
    error_json TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX flows_created_at ON flows (created_at, id);
