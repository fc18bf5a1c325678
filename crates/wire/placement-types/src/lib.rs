//! placement-types
