//! Role assignments: what somebody effectively holds, and lists of who holds what.

pub(crate) mod effective;
pub(crate) mod expand;
