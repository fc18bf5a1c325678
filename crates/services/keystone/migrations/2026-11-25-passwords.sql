ALTER TABLE identity_users ADD COLUMN password_expires_at BIGINT;
ALTER TABLE identity_users ADD COLUMN password_self_service BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE identity_users ADD COLUMN failed_auth_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN failed_auth_at BIGINT;
ALTER TABLE identity_users ADD COLUMN last_active_at BIGINT;
ALTER TABLE identity_users ADD COLUMN created_at BIGINT;

CREATE TABLE identity_passwords (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  password_hash VARCHAR(255) NOT NULL,
  ended_at BIGINT NOT NULL
);
CREATE INDEX identity_passwords_user ON identity_passwords (user_id);
