//! nova-types
