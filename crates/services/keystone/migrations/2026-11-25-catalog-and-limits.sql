CREATE TABLE catalog_endpoint_groups (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  filters TEXT NOT NULL
);

CREATE TABLE catalog_project_endpoints (
  project_id VARCHAR(64) NOT NULL,
  endpoint_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (project_id, endpoint_id)
);
CREATE INDEX catalog_project_endpoints_endpoint ON catalog_project_endpoints (endpoint_id);

CREATE TABLE catalog_project_endpoint_groups (
  project_id VARCHAR(64) NOT NULL,
  endpoint_group_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (project_id, endpoint_group_id)
);
CREATE INDEX catalog_project_endpoint_groups_group ON catalog_project_endpoint_groups (endpoint_group_id);

CREATE TABLE catalog_policy_associations (
  target VARCHAR(400) NOT NULL PRIMARY KEY,
  policy_id VARCHAR(64) NOT NULL,
  endpoint_id VARCHAR(64),
  service_id VARCHAR(64),
  region_id VARCHAR(255)
);
CREATE INDEX catalog_policy_associations_policy ON catalog_policy_associations (policy_id);

CREATE TABLE identity_registered_limits (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  service_id VARCHAR(64) NOT NULL,
  region_id VARCHAR(255),
  resource_name VARCHAR(255) NOT NULL,
  default_limit BIGINT NOT NULL,
  description TEXT
);
CREATE INDEX identity_registered_limits_service ON identity_registered_limits (service_id, resource_name);

CREATE TABLE identity_limits (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  registered_limit_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64),
  domain_id VARCHAR(64),
  resource_limit BIGINT NOT NULL,
  description TEXT
);
CREATE INDEX identity_limits_registered ON identity_limits (registered_limit_id);
CREATE INDEX identity_limits_project ON identity_limits (project_id);
CREATE INDEX identity_limits_domain ON identity_limits (domain_id);

CREATE TABLE identity_domain_configs (
  domain_id VARCHAR(64) NOT NULL,
  section VARCHAR(64) NOT NULL,
  name VARCHAR(64) NOT NULL,
  stored TEXT NOT NULL,
  sealed BOOLEAN NOT NULL,
  PRIMARY KEY (domain_id, section, name)
);
