//! keystone-types
