CREATE TABLE flavors (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    flavor_id VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    memory_mb BIGINT NOT NULL,
    vcpus BIGINT NOT NULL,
    root_gb BIGINT NOT NULL,
    ephemeral_gb BIGINT NOT NULL,
    swap BIGINT NOT NULL,
    rxtx_factor DOUBLE NOT NULL,
    is_public BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL,
    description TEXT,
    extra_specs TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX flavors_flavor_id ON flavors (flavor_id);
CREATE UNIQUE INDEX flavors_name ON flavors (name);

CREATE TABLE flavor_access (
    flavor_id VARCHAR(255) NOT NULL,
    project_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (flavor_id, project_id)
);

CREATE TABLE keypairs (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    fingerprint VARCHAR(255) NOT NULL,
    public_key TEXT NOT NULL,
    type VARCHAR(16) NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX keypairs_user_name ON keypairs (user_id, name);

CREATE TABLE instances (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    display_name VARCHAR(255) NOT NULL,
    description TEXT,
    hostname VARCHAR(255) NOT NULL,
    vm_state VARCHAR(32) NOT NULL,
    task_state VARCHAR(64),
    power_state BIGINT NOT NULL,
    host VARCHAR(255),
    node VARCHAR(255),
    image_ref VARCHAR(36),
    flavor_id VARCHAR(255) NOT NULL,
    flavor TEXT NOT NULL,
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    disk_gb BIGINT NOT NULL,
    key_name VARCHAR(255),
    key_data TEXT,
    user_data LONGTEXT,
    metadata TEXT NOT NULL,
    system_metadata TEXT NOT NULL,
    tags TEXT NOT NULL,
    network_info LONGTEXT NOT NULL,
    security_groups TEXT NOT NULL,
    config_drive BOOLEAN NOT NULL,
    availability_zone VARCHAR(255),
    requested_zone VARCHAR(255),
    root_device_name VARCHAR(64),
    disk_config VARCHAR(16) NOT NULL,
    access_ip_v4 VARCHAR(64),
    access_ip_v6 VARCHAR(64),
    reservation_id VARCHAR(64) NOT NULL,
    launch_index BIGINT NOT NULL,
    progress BIGINT NOT NULL,
    locked BOOLEAN NOT NULL,
    locked_by VARCHAR(16),
    locked_reason TEXT,
    fault TEXT,
    server_group_id VARCHAR(36),
    created_at BIGINT NOT NULL,
    updated_at BIGINT,
    launched_at BIGINT,
    terminated_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX instances_project ON instances (project_id, deleted_at, created_at);
CREATE INDEX instances_deleted ON instances (deleted_at, created_at);
CREATE INDEX instances_host ON instances (host, deleted_at);
CREATE INDEX instances_task ON instances (task_state);

CREATE TABLE block_devices (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    instance_id VARCHAR(36) NOT NULL,
    volume_id VARCHAR(36) NOT NULL,
    attachment_id VARCHAR(36),
    device_name VARCHAR(64) NOT NULL,
    boot_index BIGINT,
    delete_on_termination BOOLEAN NOT NULL,
    tag VARCHAR(255),
    size_gb BIGINT NOT NULL,
    connection_info TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX block_devices_instance ON block_devices (instance_id);
CREATE UNIQUE INDEX block_devices_volume ON block_devices (instance_id, volume_id);

CREATE TABLE instance_actions (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    instance_id VARCHAR(36) NOT NULL,
    action VARCHAR(64) NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64),
    project_id VARCHAR(64),
    message TEXT,
    start_time BIGINT NOT NULL,
    finish_time BIGINT,
    updated_at BIGINT NOT NULL
);
CREATE INDEX instance_actions_instance ON instance_actions (instance_id, start_time);
CREATE INDEX instance_actions_request ON instance_actions (instance_id, request_id);

CREATE TABLE instance_action_events (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    action_id VARCHAR(36) NOT NULL,
    event VARCHAR(64) NOT NULL,
    host VARCHAR(255),
    start_time BIGINT NOT NULL,
    finish_time BIGINT,
    result VARCHAR(16),
    details TEXT
);
CREATE INDEX instance_action_events_action ON instance_action_events (action_id, start_time);

CREATE TABLE services (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    host VARCHAR(255) NOT NULL,
    service_binary VARCHAR(64) NOT NULL,
    topic VARCHAR(64) NOT NULL,
    disabled BOOLEAN NOT NULL,
    disabled_reason TEXT,
    forced_down BOOLEAN NOT NULL,
    report_count BIGINT NOT NULL,
    last_seen_up BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX services_host_binary ON services (host, service_binary);

CREATE TABLE compute_nodes (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    service_id VARCHAR(36) NOT NULL,
    host VARCHAR(255) NOT NULL,
    hypervisor_hostname VARCHAR(255) NOT NULL,
    hypervisor_type VARCHAR(64) NOT NULL,
    hypervisor_version BIGINT NOT NULL,
    host_ip VARCHAR(64) NOT NULL,
    vcpus BIGINT NOT NULL,
    memory_mb BIGINT NOT NULL,
    local_gb BIGINT NOT NULL,
    disk_available_gb BIGINT NOT NULL,
    cpu_info TEXT NOT NULL,
    supported_instances TEXT NOT NULL,
    traits TEXT NOT NULL,
    driver VARCHAR(32) NOT NULL,
    uptime_s BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX compute_nodes_host ON compute_nodes (host, hypervisor_hostname);

CREATE TABLE aggregates (
    number BIGINT NOT NULL PRIMARY KEY,
    id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX aggregates_name ON aggregates (name);

CREATE TABLE aggregate_hosts (
    aggregate_number BIGINT NOT NULL,
    host VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (aggregate_number, host)
);

CREATE TABLE server_groups (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    project_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    name VARCHAR(255) NOT NULL,
    policy VARCHAR(64) NOT NULL,
    rules TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX server_groups_project ON server_groups (project_id);

CREATE TABLE scheduling_records (
    instance_id VARCHAR(36) NOT NULL PRIMARY KEY,
    request_id VARCHAR(64) NOT NULL,
    outcome LONGTEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE console_tokens (
    token_hash VARCHAR(64) NOT NULL PRIMARY KEY,
    instance_id VARCHAR(36) NOT NULL,
    console_type VARCHAR(32) NOT NULL,
    host VARCHAR(255) NOT NULL,
    port BIGINT NOT NULL,
    internal_access_path VARCHAR(255),
    expires_at BIGINT NOT NULL
);
CREATE INDEX console_tokens_expires ON console_tokens (expires_at);
