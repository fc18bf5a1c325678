CREATE TABLE backups (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    volume_id VARCHAR(36) NOT NULL,
    snapshot_id VARCHAR(36),
    parent_id VARCHAR(36),
    name VARCHAR(255),
    description TEXT,
    status VARCHAR(32) NOT NULL,
    container VARCHAR(255),
    availability_zone VARCHAR(255),
    host VARCHAR(255),
    service VARCHAR(255),
    prefix VARCHAR(255) NOT NULL,
    size BIGINT NOT NULL,
    object_count BIGINT NOT NULL,
    fail_reason TEXT,
    metadata TEXT NOT NULL,
    extra TEXT NOT NULL,
    data_timestamp BIGINT NOT NULL,
    restore_volume_id VARCHAR(36),
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE INDEX backups_project ON backups (project_id, created_at);
CREATE INDEX backups_volume ON backups (volume_id, created_at);
CREATE INDEX backups_parent ON backups (parent_id);
CREATE INDEX backups_status ON backups (status);
