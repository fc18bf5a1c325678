//! neutron-types
