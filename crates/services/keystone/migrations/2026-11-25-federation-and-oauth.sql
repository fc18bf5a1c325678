CREATE TABLE identity_idps (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  enabled BOOLEAN NOT NULL,
  description TEXT,
  authorization_ttl BIGINT
);
CREATE INDEX identity_idps_domain ON identity_idps (domain_id);

CREATE TABLE identity_idp_remote_ids (
  remote_id VARCHAR(255) NOT NULL PRIMARY KEY,
  idp_id VARCHAR(64) NOT NULL
);
CREATE INDEX identity_idp_remote_ids_idp ON identity_idp_remote_ids (idp_id);

CREATE TABLE identity_federation_protocols (
  idp_id VARCHAR(64) NOT NULL,
  id VARCHAR(64) NOT NULL,
  mapping_id VARCHAR(64) NOT NULL,
  remote_id_attribute VARCHAR(64),
  PRIMARY KEY (idp_id, id)
);

CREATE TABLE identity_mappings (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  rules TEXT NOT NULL,
  schema_version VARCHAR(8) NOT NULL
);

CREATE TABLE identity_service_providers (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  enabled BOOLEAN NOT NULL,
  description TEXT,
  auth_url VARCHAR(255) NOT NULL,
  sp_url VARCHAR(255) NOT NULL,
  relay_state_prefix VARCHAR(255) NOT NULL
);

CREATE TABLE identity_federated_users (
  idp_id VARCHAR(64) NOT NULL,
  protocol_id VARCHAR(64) NOT NULL,
  unique_id VARCHAR(255) NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  group_ids TEXT NOT NULL,
  PRIMARY KEY (idp_id, protocol_id, unique_id)
);
CREATE INDEX identity_federated_users_user ON identity_federated_users (user_id);

ALTER TABLE identity_users ADD COLUMN display_name VARCHAR(255);
ALTER TABLE identity_memberships ADD COLUMN idp_id VARCHAR(64);
ALTER TABLE identity_memberships ADD COLUMN expires_at BIGINT;
CREATE INDEX identity_memberships_end ON identity_memberships (expires_at);

CREATE TABLE identity_consumers (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  description TEXT,
  encrypted_secret TEXT NOT NULL,
  extra TEXT NOT NULL
);

CREATE TABLE identity_oauth_request_tokens (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  consumer_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  encrypted_secret TEXT NOT NULL,
  verifier VARCHAR(64),
  user_id VARCHAR(64),
  role_ids TEXT NOT NULL,
  expires_at BIGINT
);
CREATE INDEX identity_oauth_request_tokens_consumer ON identity_oauth_request_tokens (consumer_id);
CREATE INDEX identity_oauth_request_tokens_end ON identity_oauth_request_tokens (expires_at);

CREATE TABLE identity_oauth_access_tokens (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  consumer_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  encrypted_secret TEXT NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  role_ids TEXT NOT NULL,
  expires_at BIGINT
);
CREATE INDEX identity_oauth_access_tokens_consumer ON identity_oauth_access_tokens (consumer_id);
CREATE INDEX identity_oauth_access_tokens_user ON identity_oauth_access_tokens (user_id);
CREATE INDEX identity_oauth_access_tokens_project ON identity_oauth_access_tokens (project_id);

CREATE TABLE identity_oauth_nonces (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  used_at BIGINT NOT NULL
);
CREATE INDEX identity_oauth_nonces_when ON identity_oauth_nonces (used_at);
