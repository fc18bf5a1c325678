-- What schedulers keep in memory: this grows with every change of what is known of hosts, but their heartbeats.
CREATE TABLE host_generation (
    id BIGINT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);
INSERT INTO host_generation (id, generation) VALUES (1, 1);
-- And of instances they read those that changed.
CREATE INDEX instances_updated ON instances (updated_at);
