//! host-brick
