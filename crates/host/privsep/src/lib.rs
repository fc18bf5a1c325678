//! host-privsep
