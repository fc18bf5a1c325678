CREATE TABLE clusters (
    name VARCHAR(190) NOT NULL,
    binary_name VARCHAR(64) NOT NULL,
    disabled BOOLEAN NOT NULL,
    disabled_reason TEXT,
    frozen BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    PRIMARY KEY (name, binary_name)
);
