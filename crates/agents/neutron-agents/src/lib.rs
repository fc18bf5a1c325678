//! neutron-agents
