//! Users' secrets.

pub(crate) mod password;
