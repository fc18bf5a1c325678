//! keystone
