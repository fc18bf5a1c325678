CREATE TABLE cached_images (
    node VARCHAR(64) NOT NULL,
    image VARCHAR(36) NOT NULL,
    file VARCHAR(128) NOT NULL,
    url TEXT,
    size BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    last_accessed BIGINT NOT NULL,
    last_modified BIGINT NOT NULL,
    PRIMARY KEY (node, image)
);
CREATE INDEX cached_images_image ON cached_images (image);
CREATE TABLE cache_queue (
    node VARCHAR(64) NOT NULL,
    image VARCHAR(36) NOT NULL,
    queued_at BIGINT NOT NULL,
    PRIMARY KEY (node, image)
);
