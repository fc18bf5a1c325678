CREATE TABLE notification_outbox (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    priority VARCHAR(16) NOT NULL,
    body LONGTEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX notification_outbox_created ON notification_outbox (created_at, id);
