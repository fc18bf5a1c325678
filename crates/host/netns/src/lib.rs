//! host-netns
