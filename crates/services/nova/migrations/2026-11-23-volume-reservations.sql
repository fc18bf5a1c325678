CREATE TABLE volume_reservations (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    instance_id VARCHAR(36) NOT NULL,
    volume_id VARCHAR(36) NOT NULL,
    given_up BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX volume_reservations_created ON volume_reservations (created_at);
