//! neutron
