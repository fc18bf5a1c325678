//! cloud-tests
