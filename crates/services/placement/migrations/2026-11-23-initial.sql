CREATE TABLE placement_revision (
    id BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO placement_revision (id, revision) VALUES (1, 1);
CREATE TABLE resource_providers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(200) NOT NULL,
    generation BIGINT NOT NULL,
    parent VARCHAR(36),
    root VARCHAR(36) NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX resource_providers_name ON resource_providers (name);
CREATE INDEX resource_providers_root ON resource_providers (root);
CREATE INDEX resource_providers_parent ON resource_providers (parent);
CREATE INDEX resource_providers_revision ON resource_providers (revision);
CREATE TABLE removed_providers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);
CREATE INDEX removed_providers_revision ON removed_providers (revision);
CREATE TABLE inventories (
    provider VARCHAR(36) NOT NULL,
    class VARCHAR(255) NOT NULL,
    total BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    min_unit BIGINT NOT NULL,
    max_unit BIGINT NOT NULL,
    step_size BIGINT NOT NULL,
    allocation_ratio DOUBLE NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (provider, class)
);
CREATE INDEX inventories_class ON inventories (class);
CREATE TABLE resource_provider_traits (
    provider VARCHAR(36) NOT NULL,
    trait VARCHAR(255) NOT NULL,
    PRIMARY KEY (provider, trait)
);
CREATE INDEX resource_provider_traits_trait ON resource_provider_traits (trait);
CREATE TABLE resource_provider_aggregates (
    provider VARCHAR(36) NOT NULL,
    aggregate VARCHAR(36) NOT NULL,
    PRIMARY KEY (provider, aggregate)
);
CREATE TABLE traits (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    updated_at BIGINT NOT NULL
);
CREATE TABLE resource_classes (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    updated_at BIGINT NOT NULL
);
CREATE TABLE consumers (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    project_id VARCHAR(255) NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    consumer_type VARCHAR(255),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX consumers_project ON consumers (project_id, user_id);
CREATE TABLE allocations (
    consumer VARCHAR(36) NOT NULL,
    provider VARCHAR(36) NOT NULL,
    class VARCHAR(255) NOT NULL,
    used BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, provider, class)
);
CREATE INDEX allocations_provider ON allocations (provider, class);
