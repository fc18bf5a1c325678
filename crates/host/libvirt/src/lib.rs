//! host-libvirt
