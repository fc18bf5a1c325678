//! nova-compute
