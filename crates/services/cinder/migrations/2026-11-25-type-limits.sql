CREATE TABLE type_limits (
    owner VARCHAR(255) NOT NULL,
    resource VARCHAR(300) NOT NULL,
    hard_limit BIGINT NOT NULL,
    PRIMARY KEY (owner, resource)
);
ALTER TABLE services ADD COLUMN frozen BOOLEAN NOT NULL DEFAULT FALSE;
