CREATE TABLE image_locations (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    image VARCHAR(36) NOT NULL,
    store VARCHAR(64) NOT NULL,
    file VARCHAR(128),
    url TEXT,
    status VARCHAR(20) NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX image_locations_image ON image_locations (image);
CREATE INDEX image_locations_file ON image_locations (file);
CREATE INDEX image_locations_status ON image_locations (status);
INSERT INTO image_locations (id, image, store, file, status, created_at)
    SELECT id, id, '', file, CASE WHEN deleted_at IS NULL THEN 'active' ELSE 'pending_delete' END, created_at
    FROM images WHERE file IS NOT NULL;
ALTER TABLE images DROP COLUMN file;
ALTER TABLE images ADD COLUMN staged VARCHAR(128);
ALTER TABLE images ADD COLUMN staged_facts TEXT;
CREATE TABLE tasks (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    type VARCHAR(30) NOT NULL,
    status VARCHAR(20) NOT NULL,
    owner VARCHAR(255) NOT NULL,
    input TEXT NOT NULL,
    result TEXT,
    message TEXT NOT NULL,
    image_id VARCHAR(36),
    request_id VARCHAR(64),
    user_id VARCHAR(64),
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tasks_owner ON tasks (owner);
CREATE INDEX tasks_image ON tasks (image_id);
CREATE INDEX tasks_expires ON tasks (expires_at);
