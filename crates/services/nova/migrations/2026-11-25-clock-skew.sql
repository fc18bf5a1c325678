-- Milliseconds that the host's clock is ahead of the conductor's (negative: behind).
ALTER TABLE compute_nodes ADD COLUMN clock_skew_ms BIGINT NOT NULL DEFAULT 0;
