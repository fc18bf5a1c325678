CREATE TABLE instance_addresses (
    instance_id VARCHAR(36) NOT NULL,
    address VARCHAR(64) NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (instance_id, address)
);
CREATE INDEX instance_addresses_address ON instance_addresses (version, address);
