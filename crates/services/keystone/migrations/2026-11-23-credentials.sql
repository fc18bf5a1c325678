CREATE TABLE identity_credentials (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64),
  type VARCHAR(255) NOT NULL,
  encrypted_blob TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX identity_credentials_user ON identity_credentials (user_id);
CREATE INDEX identity_credentials_project ON identity_credentials (project_id);
