-- Columns that every resource with standard attributes has: description, created_at, updated_at, revision_number.
CREATE TABLE networks (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  admin_state_up BOOLEAN NOT NULL,
  status VARCHAR(16) NOT NULL,
  mtu BIGINT NOT NULL,
  external BOOLEAN NOT NULL,
  is_default BOOLEAN NOT NULL,
  port_security_enabled BOOLEAN NOT NULL,
  dns_domain VARCHAR(255) NOT NULL,
  network_type VARCHAR(32) NOT NULL,
  physical_network VARCHAR(64),
  segmentation_id BIGINT,
  availability_zone_hints TEXT NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_networks_project ON networks (project_id);
CREATE TABLE network_segments (
  network_type VARCHAR(32) NOT NULL,
  physical_network VARCHAR(64) NOT NULL,
  segmentation_id BIGINT NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (network_type, physical_network, segmentation_id)
);
CREATE INDEX ix_network_segments_network ON network_segments (network_id);
CREATE TABLE subnets (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  ip_version BIGINT NOT NULL,
  cidr VARCHAR(64) NOT NULL,
  gateway_ip VARCHAR(64),
  enable_dhcp BOOLEAN NOT NULL,
  ipv6_ra_mode VARCHAR(32),
  ipv6_address_mode VARCHAR(32),
  allocation_pools TEXT NOT NULL,
  dns_nameservers TEXT NOT NULL,
  host_routes TEXT NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_subnets_project ON subnets (project_id);
CREATE INDEX ix_subnets_network ON subnets (network_id);
CREATE TABLE ports (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  mac_address VARCHAR(32) NOT NULL,
  admin_state_up BOOLEAN NOT NULL,
  status VARCHAR(16) NOT NULL,
  device_id VARCHAR(255) NOT NULL,
  device_owner VARCHAR(255) NOT NULL,
  port_security_enabled BOOLEAN NOT NULL,
  dns_name VARCHAR(255) NOT NULL,
  vnic_type VARCHAR(64) NOT NULL,
  host VARCHAR(255) NOT NULL,
  profile TEXT NOT NULL,
  vif_type VARCHAR(64) NOT NULL,
  vif_details TEXT NOT NULL,
  allowed_address_pairs TEXT NOT NULL,
  extra_dhcp_opts TEXT NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE UNIQUE INDEX uq_ports_network_mac ON ports (network_id, mac_address);
CREATE INDEX ix_ports_project ON ports (project_id);
CREATE INDEX ix_ports_device ON ports (device_id);
CREATE INDEX ix_ports_host ON ports (host);
CREATE TABLE ip_allocations (
  subnet_id VARCHAR(36) NOT NULL,
  ip_address VARCHAR(64) NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  port_id VARCHAR(36) NOT NULL,
  position BIGINT NOT NULL,
  PRIMARY KEY (subnet_id, ip_address)
);
CREATE INDEX ix_ip_allocations_port ON ip_allocations (port_id);
CREATE INDEX ix_ip_allocations_network ON ip_allocations (network_id);
CREATE TABLE port_security_groups (
  port_id VARCHAR(36) NOT NULL,
  security_group_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (port_id, security_group_id)
);
CREATE INDEX ix_port_security_groups_group ON port_security_groups (security_group_id);
CREATE TABLE security_groups (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  stateful BOOLEAN NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_security_groups_project ON security_groups (project_id);
CREATE TABLE default_security_groups (
  project_id VARCHAR(255) NOT NULL PRIMARY KEY,
  security_group_id VARCHAR(36) NOT NULL
);
CREATE TABLE security_group_rules (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  security_group_id VARCHAR(36) NOT NULL,
  direction VARCHAR(16) NOT NULL,
  ethertype VARCHAR(16) NOT NULL,
  protocol VARCHAR(40),
  port_range_min BIGINT,
  port_range_max BIGINT,
  remote_ip_prefix VARCHAR(64),
  remote_group_id VARCHAR(36),
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_security_group_rules_group ON security_group_rules (security_group_id);
CREATE INDEX ix_security_group_rules_remote ON security_group_rules (remote_group_id);
CREATE INDEX ix_security_group_rules_project ON security_group_rules (project_id);
CREATE TABLE routers (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  admin_state_up BOOLEAN NOT NULL,
  status VARCHAR(16) NOT NULL,
  gw_port_id VARCHAR(36),
  enable_snat BOOLEAN NOT NULL,
  routes TEXT NOT NULL,
  availability_zone_hints TEXT NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_routers_project ON routers (project_id);
CREATE TABLE floatingips (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  floating_network_id VARCHAR(36) NOT NULL,
  floating_port_id VARCHAR(36) NOT NULL,
  floating_ip_address VARCHAR(64) NOT NULL,
  port_id VARCHAR(36),
  fixed_ip_address VARCHAR(64),
  router_id VARCHAR(36),
  status VARCHAR(16) NOT NULL,
  dns_name VARCHAR(255) NOT NULL,
  dns_domain VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  revision_number BIGINT NOT NULL
);
CREATE INDEX ix_floatingips_project ON floatingips (project_id);
CREATE INDEX ix_floatingips_router ON floatingips (router_id);
-- One floating address per inner address and external network, also under concurrency (null ports never clash).
CREATE UNIQUE INDEX uq_floatingips_fixed ON floatingips (floating_network_id, port_id, fixed_ip_address);
CREATE TABLE neutron_agents (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  agent_type VARCHAR(100) NOT NULL,
  host VARCHAR(150) NOT NULL,
  binary_name VARCHAR(255) NOT NULL,
  topic VARCHAR(255) NOT NULL,
  availability_zone VARCHAR(255),
  configurations TEXT NOT NULL,
  admin_state_up BOOLEAN NOT NULL,
  description VARCHAR(255),
  created_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  heartbeat_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX uq_neutron_agents_type_host ON neutron_agents (agent_type, host);
CREATE TABLE dhcp_bindings (
  network_id VARCHAR(36) NOT NULL,
  agent_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (network_id, agent_id)
);
CREATE TABLE l3_bindings (
  router_id VARCHAR(36) NOT NULL PRIMARY KEY,
  agent_id VARCHAR(36) NOT NULL
);
CREATE TABLE rbac_policies (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  object_type VARCHAR(32) NOT NULL,
  object_id VARCHAR(36) NOT NULL,
  action VARCHAR(64) NOT NULL,
  target_project VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX uq_rbac_policies ON rbac_policies (object_id, action, target_project);
CREATE TABLE neutron_tags (
  resource_id VARCHAR(36) NOT NULL,
  tag VARCHAR(255) NOT NULL,
  PRIMARY KEY (resource_id, tag)
);
-- One row: the revision of the desired state of all hosts.
CREATE TABLE neutron_state (
  id BIGINT NOT NULL PRIMARY KEY,
  revision BIGINT NOT NULL
);
INSERT INTO neutron_state (id, revision) VALUES (1, 1);
