CREATE TABLE leader_locks (
    name VARCHAR(255) NOT NULL,
    owner VARCHAR(255) NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);
