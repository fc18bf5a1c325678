CREATE TABLE identity_keys (
  purpose VARCHAR(16) NOT NULL,
  number BIGINT NOT NULL,
  sealed TEXT NOT NULL,
  PRIMARY KEY (purpose, number)
);
