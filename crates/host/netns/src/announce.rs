//! Gratuitous ARP: tells the neighbours at once who holds an address now.

use crate::{IfName, Mac, Namespace, ns};
use base::{Error, Result};
use nix::libc;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Broadcasts one ARP announcement for each address from `device` inside `namespace`.
pub async fn addresses(
    namespace: &Namespace,
    device: &IfName,
    mac: Mac,
    addresses: Vec<Ipv4Addr>,
) -> Result<()> {
    let device = device.clone();
    ns::inside(namespace, move || {
        let index = nix::net::if_::if_nametoindex(device.as_str()).map_err(Error::internal)?;
        for address in addresses {
            send(index, &frame(mac, address))?;
        }
        Ok(())
    })
    .await
}

fn frame(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(mac.bytes());
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]); // ARP, Ethernet, IPv4, request
    frame.extend(mac.bytes());
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

fn send(index: u32, frame: &[u8]) -> Result<()> {
    let failed = || {
        Error::internal(format!(
            "announcing an address: {}",
            std::io::Error::last_os_error()
        ))
    };
    // SAFETY: plain calls with valid arguments; the descriptor is owned from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(failed());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = index as i32;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&[0xff; 6]);
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `to` and `frame` live through the call and their lengths are right.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size,
        )
    };
    if sent < 0 { Err(failed()) } else { Ok(()) }
}
