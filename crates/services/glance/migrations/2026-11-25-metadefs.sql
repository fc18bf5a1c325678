CREATE TABLE metadef_namespaces (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    namespace VARCHAR(80) NOT NULL UNIQUE,
    display_name VARCHAR(80),
    description TEXT,
    visibility VARCHAR(20) NOT NULL,
    owner VARCHAR(255),
    protected BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX metadef_namespaces_owner ON metadef_namespaces (owner);
CREATE TABLE metadef_objects (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    namespace VARCHAR(36) NOT NULL,
    name VARCHAR(80) NOT NULL,
    description TEXT,
    required TEXT NOT NULL,
    properties MEDIUMTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (namespace, name)
);
CREATE TABLE metadef_properties (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    namespace VARCHAR(36) NOT NULL,
    name VARCHAR(80) NOT NULL,
    json_schema MEDIUMTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (namespace, name)
);
CREATE TABLE metadef_tags (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    namespace VARCHAR(36) NOT NULL,
    name VARCHAR(80) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (namespace, name)
);
CREATE TABLE metadef_resource_types (
    name VARCHAR(80) NOT NULL PRIMARY KEY,
    protected BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE metadef_associations (
    namespace VARCHAR(36) NOT NULL,
    name VARCHAR(80) NOT NULL,
    prefix VARCHAR(80),
    properties_target VARCHAR(80),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, name)
);
CREATE INDEX metadef_associations_name ON metadef_associations (name);
CREATE TABLE metadef_catalog (
    file VARCHAR(80) NOT NULL PRIMARY KEY,
    loaded_at BIGINT NOT NULL
);
