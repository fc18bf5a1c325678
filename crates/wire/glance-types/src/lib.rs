//! glance-types
