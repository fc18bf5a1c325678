//! cinder-types
