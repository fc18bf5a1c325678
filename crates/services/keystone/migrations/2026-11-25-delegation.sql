CREATE TABLE identity_app_creds (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  secret_hash VARCHAR(255) NOT NULL,
  description TEXT,
  expires_at BIGINT,
  unrestricted BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX identity_app_creds_name ON identity_app_creds (user_id, name);
CREATE INDEX identity_app_creds_project ON identity_app_creds (project_id);

CREATE TABLE identity_app_cred_roles (
  app_cred_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (app_cred_id, role_id)
);
CREATE INDEX identity_app_cred_roles_role ON identity_app_cred_roles (role_id);

CREATE TABLE identity_access_rules (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  service VARCHAR(64) NOT NULL,
  path VARCHAR(225) NOT NULL,
  method VARCHAR(16) NOT NULL
);
CREATE UNIQUE INDEX identity_access_rules_same ON identity_access_rules (user_id, service, path, method);

CREATE TABLE identity_app_cred_rules (
  app_cred_id VARCHAR(64) NOT NULL,
  access_rule_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (app_cred_id, access_rule_id)
);
CREATE INDEX identity_app_cred_rules_rule ON identity_app_cred_rules (access_rule_id);

CREATE TABLE identity_trusts (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  trustor_user_id VARCHAR(64) NOT NULL,
  trustee_user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64),
  impersonation BOOLEAN NOT NULL,
  expires_at BIGINT,
  remaining_uses BIGINT,
  redelegated_trust_id VARCHAR(64),
  redelegation_count BIGINT NOT NULL,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_trusts_same
  ON identity_trusts (trustor_user_id, trustee_user_id, project_id, impersonation, expires_at);
CREATE INDEX identity_trusts_trustee ON identity_trusts (trustee_user_id);
CREATE INDEX identity_trusts_project ON identity_trusts (project_id);
CREATE INDEX identity_trusts_parent ON identity_trusts (redelegated_trust_id);

CREATE TABLE identity_trust_roles (
  trust_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (trust_id, role_id)
);
CREATE INDEX identity_trust_roles_role ON identity_trust_roles (role_id);
