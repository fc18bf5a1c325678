CREATE TABLE snapshots (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    volume_id VARCHAR(36) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255),
    description TEXT,
    size BIGINT NOT NULL,
    status VARCHAR(32) NOT NULL,
    progress VARCHAR(32) NOT NULL,
    volume_type_id VARCHAR(36) NOT NULL,
    group_snapshot_id VARCHAR(36),
    bootable BOOLEAN NOT NULL,
    metadata TEXT NOT NULL,
    image_metadata TEXT NOT NULL,
    provider_id VARCHAR(255),
    provider_location TEXT,
    reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE INDEX snapshots_project ON snapshots (project_id, created_at);
CREATE INDEX snapshots_volume ON snapshots (volume_id);
CREATE INDEX snapshots_status ON snapshots (status);
ALTER TABLE volumes ADD COLUMN snapshot_id VARCHAR(36);
ALTER TABLE volumes ADD COLUMN source_volid VARCHAR(36);
