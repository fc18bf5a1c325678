CREATE TABLE identity_id_mappings (
  public_id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  local_id VARCHAR(255) NOT NULL,
  entity_type VARCHAR(16) NOT NULL,
  looked_at BIGINT NOT NULL
);
CREATE INDEX identity_id_mappings_looked ON identity_id_mappings (domain_id, entity_type, looked_at);
