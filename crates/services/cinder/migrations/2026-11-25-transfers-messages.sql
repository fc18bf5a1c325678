CREATE TABLE transfers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    volume_id VARCHAR(36) NOT NULL,
    name VARCHAR(255),
    salt VARCHAR(64) NOT NULL,
    crypt_hash VARCHAR(64) NOT NULL,
    no_snapshots BOOLEAN NOT NULL,
    source_project_id VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX transfers_volume ON transfers (volume_id);
CREATE INDEX transfers_project ON transfers (source_project_id, created_at);
CREATE TABLE messages (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    resource_type VARCHAR(36) NOT NULL,
    resource_uuid VARCHAR(36),
    action_id VARCHAR(8) NOT NULL,
    detail_id VARCHAR(8) NOT NULL,
    event_id VARCHAR(64) NOT NULL,
    message_level VARCHAR(16) NOT NULL,
    explanation TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX messages_project ON messages (project_id, created_at);
CREATE INDEX messages_expiry ON messages (expires_at);
