CREATE TABLE volumes (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255),
    description TEXT,
    size BIGINT NOT NULL,
    growing_by BIGINT NOT NULL,
    status VARCHAR(32) NOT NULL,
    previous_status VARCHAR(32),
    availability_zone VARCHAR(255) NOT NULL,
    volume_type_id VARCHAR(36) NOT NULL,
    host VARCHAR(255),
    bootable BOOLEAN NOT NULL,
    multiattach BOOLEAN NOT NULL,
    read_only BOOLEAN,
    metadata TEXT NOT NULL,
    image_metadata TEXT NOT NULL,
    image_id VARCHAR(36),
    provider_id VARCHAR(255),
    provider_location TEXT,
    service_id VARCHAR(36),
    reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE INDEX volumes_project ON volumes (project_id, created_at);
CREATE INDEX volumes_status ON volumes (status);
CREATE TABLE attachments (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    volume_id VARCHAR(36) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    instance_id VARCHAR(36),
    host VARCHAR(255),
    mountpoint VARCHAR(255),
    status VARCHAR(32) NOT NULL,
    mode VARCHAR(8),
    connector TEXT NOT NULL,
    connection_info TEXT NOT NULL,
    attached_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE INDEX attachments_volume ON attachments (volume_id);
CREATE TABLE volume_types (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    description TEXT,
    is_public BOOLEAN NOT NULL,
    extra_specs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX volume_types_name ON volume_types (name);
CREATE TABLE volume_type_access (
    volume_type_id VARCHAR(36) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (volume_type_id, project_id)
);
CREATE TABLE services (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    host VARCHAR(190) NOT NULL,
    binary_name VARCHAR(64) NOT NULL,
    availability_zone VARCHAR(255) NOT NULL,
    disabled BOOLEAN NOT NULL,
    disabled_reason TEXT,
    report TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX services_host ON services (host, binary_name);
