//! cinder-volume
