CREATE TABLE identity_projects (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  domain_id VARCHAR(64) NOT NULL,
  parent_id VARCHAR(64),
  is_domain BOOLEAN NOT NULL,
  enabled BOOLEAN NOT NULL,
  description TEXT,
  tags TEXT NOT NULL,
  options TEXT NOT NULL,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_projects_name ON identity_projects (domain_id, name);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);
CREATE TABLE identity_users (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  domain_id VARCHAR(64) NOT NULL,
  enabled BOOLEAN NOT NULL,
  default_project_id VARCHAR(64),
  password_hash VARCHAR(255),
  password_changed_at BIGINT,
  options TEXT NOT NULL,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_users_name ON identity_users (domain_id, name);
CREATE INDEX identity_users_project ON identity_users (default_project_id);
CREATE TABLE identity_groups (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  domain_id VARCHAR(64) NOT NULL,
  description TEXT,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_groups_name ON identity_groups (domain_id, name);
CREATE TABLE identity_memberships (
  user_id VARCHAR(64) NOT NULL,
  group_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (user_id, group_id)
);
CREATE INDEX identity_memberships_group ON identity_memberships (group_id);
CREATE TABLE identity_roles (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  domain_id VARCHAR(64) NOT NULL,
  description TEXT,
  options TEXT NOT NULL,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_roles_name ON identity_roles (domain_id, name);
CREATE TABLE identity_implied_roles (
  prior_role_id VARCHAR(64) NOT NULL,
  implied_role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (prior_role_id, implied_role_id)
);
CREATE TABLE identity_assignments (
  kind VARCHAR(16) NOT NULL,
  actor_id VARCHAR(64) NOT NULL,
  target_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  inherited BOOLEAN NOT NULL,
  PRIMARY KEY (kind, actor_id, target_id, role_id, inherited)
);
CREATE INDEX identity_assignments_actor ON identity_assignments (actor_id);
CREATE INDEX identity_assignments_target ON identity_assignments (target_id);
CREATE INDEX identity_assignments_role ON identity_assignments (role_id);
CREATE TABLE identity_revocations (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  audit_id VARCHAR(64),
  user_id VARCHAR(64),
  project_id VARCHAR(64),
  domain_id VARCHAR(64),
  issued_before BIGINT NOT NULL
);
CREATE INDEX identity_revocations_when ON identity_revocations (issued_before);
CREATE TABLE identity_generation (
  id BIGINT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO identity_generation (id, value) VALUES (1, 1);
CREATE TABLE catalog_regions (
  id VARCHAR(255) NOT NULL PRIMARY KEY,
  description TEXT NOT NULL,
  parent_region_id VARCHAR(255),
  extra TEXT NOT NULL
);
CREATE TABLE catalog_services (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(255) NOT NULL,
  name VARCHAR(255),
  enabled BOOLEAN NOT NULL,
  extra TEXT NOT NULL
);
CREATE TABLE catalog_endpoints (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  interface VARCHAR(8) NOT NULL,
  region_id VARCHAR(255),
  service_id VARCHAR(64) NOT NULL,
  url TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  extra TEXT NOT NULL
);
CREATE INDEX catalog_endpoints_service ON catalog_endpoints (service_id);
