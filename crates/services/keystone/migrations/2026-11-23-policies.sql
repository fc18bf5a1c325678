CREATE TABLE catalog_policies (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(255) NOT NULL,
  blob_text TEXT NOT NULL,
  extra TEXT NOT NULL
);
