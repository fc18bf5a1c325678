//! host-imagefmt
