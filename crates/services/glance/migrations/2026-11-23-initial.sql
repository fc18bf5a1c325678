CREATE TABLE images (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(255),
    status VARCHAR(30) NOT NULL,
    visibility VARCHAR(20) NOT NULL,
    owner VARCHAR(255),
    checksum VARCHAR(32),
    os_hash_algo VARCHAR(64),
    os_hash_value VARCHAR(128),
    size BIGINT,
    virtual_size BIGINT,
    container_format VARCHAR(20),
    disk_format VARCHAR(20),
    min_disk BIGINT NOT NULL,
    min_ram BIGINT NOT NULL,
    protected BOOLEAN NOT NULL,
    os_hidden BOOLEAN NOT NULL,
    file VARCHAR(100),
    upload VARCHAR(128),
    upload_owner VARCHAR(255),
    upload_lease BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX images_owner ON images (owner);
CREATE INDEX images_visibility ON images (visibility);
CREATE INDEX images_created ON images (created_at, id);
CREATE INDEX images_status ON images (status);
CREATE TABLE image_properties (
    image VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (image, name)
);
CREATE TABLE image_tags (
    image VARCHAR(36) NOT NULL,
    tag VARCHAR(255) NOT NULL,
    PRIMARY KEY (image, tag)
);
CREATE TABLE image_members (
    image VARCHAR(36) NOT NULL,
    member VARCHAR(255) NOT NULL,
    status VARCHAR(20) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (image, member)
);
CREATE INDEX image_members_member ON image_members (member);
