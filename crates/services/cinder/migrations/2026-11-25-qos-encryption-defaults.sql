CREATE TABLE qos_specs (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    consumer VARCHAR(16) NOT NULL,
    specs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX qos_specs_name ON qos_specs (name);
ALTER TABLE volume_types ADD COLUMN qos_specs_id VARCHAR(36);
CREATE TABLE volume_type_encryptions (
    volume_type_id VARCHAR(36) NOT NULL PRIMARY KEY,
    id VARCHAR(36) NOT NULL,
    provider VARCHAR(255) NOT NULL,
    control_location VARCHAR(16) NOT NULL,
    cipher VARCHAR(255),
    key_size BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE TABLE default_volume_types (
    project_id VARCHAR(64) NOT NULL PRIMARY KEY,
    volume_type_id VARCHAR(36) NOT NULL
);
