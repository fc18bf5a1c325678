-- How often each piece of what hosts have to do has moved. What is not here has never moved.
CREATE TABLE neutron_revisions (
  topic VARCHAR(300) NOT NULL PRIMARY KEY,
  revision BIGINT NOT NULL
);
CREATE INDEX ix_ports_owner ON ports (device_owner);
CREATE INDEX ix_floatingips_port ON floatingips (port_id);
