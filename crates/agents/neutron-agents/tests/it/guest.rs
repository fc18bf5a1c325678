//! A guest: a namespace with one device, and what it can do with it.

use base::{Error, Result};
use host_netns::link::{Batch, RouteEntry};
use host_netns::{Id, IfName, Mac, Namespace, ns};
use neutron_types::rpc::PortState;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub struct Guest {
    pub namespace: Namespace,
    pub tap: IfName,
    pub device: IfName,
    pub mac: Mac,
}

impl Guest {
    pub async fn boot(port: &PortState) -> Guest {
        let id = Id::parse(&port.id).unwrap();
        let guest = Guest {
            namespace: Namespace::parse(&format!("guest-{}", id.short())).unwrap(),
            tap: IfName::tap(&id),
            device: IfName::parse("eth0").unwrap(),
            mac: Mac::parse(&port.mac_address).unwrap(),
        };
        ns::ensure(&guest.namespace).await.unwrap();
        let mut batch = Batch::new();
        batch.add_veth(&guest.tap, &guest.device, &guest.namespace);
        batch.run(None).await.unwrap();
        guest.set_mac(&guest.mac).await;
        guest
    }

    pub async fn set_mac(&self, mac: &Mac) {
        let mut batch = Batch::new();
        batch.set_address(&self.device, mac);
        batch.set_up(&self.device);
        batch.run(Some(&self.namespace)).await.unwrap();
    }

    pub async fn add_address(&self, address: &str) {
        let mut batch = Batch::new();
        batch.add_address(&self.device, &address.parse().unwrap());
        batch.run(Some(&self.namespace)).await.unwrap();
    }

    pub async fn default_route(&self, via: &str) {
        let mut batch = Batch::new();
        let route = RouteEntry {
            destination: "0.0.0.0/0".parse().unwrap(),
            via: via.parse().unwrap(),
            device: "eth0".into(),
        };
        batch.add_route(&route);
        batch.run(Some(&self.namespace)).await.unwrap();
    }

    /// A UDP socket of the guest.
    pub async fn udp(&self, address: &'static str) -> UdpSocket {
        let socket = ns::inside(&self.namespace, move || {
            let socket = UdpSocket::bind(address)?;
            setsockopt(&socket, sockopt::Broadcast, &true).map_err(Error::internal)?;
            setsockopt(&socket, sockopt::BindToDevice, &"eth0".into()).map_err(Error::internal)?;
            Ok(socket)
        });
        let socket = socket.await.unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(400)))
            .unwrap();
        socket
    }

    /// One HTTP request and the whole answer.
    pub async fn http(&self, to: &'static str, request: String) -> Result<String> {
        ns::inside(&self.namespace, move || {
            let to: SocketAddr = to.parse().map_err(Error::internal)?;
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
        .await
    }

    /// Asks for an address; the offered one and the options' bytes.
    pub async fn dhcp_discover(&self) -> Option<(Ipv4Addr, Vec<u8>)> {
        let socket = self.udp("0.0.0.0:68").await;
        let mut packet = vec![0u8; 240];
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[4..8].copy_from_slice(&[1, 2, 3, 4]);
        packet[10] = 0x80; // answer by broadcast
        packet[28..34].copy_from_slice(&self.mac.bytes());
        packet[236..].copy_from_slice(&[99, 130, 83, 99]);
        packet.extend([53, 1, 1, 55, 5, 1, 3, 6, 26, 121, 255]);
        packet.resize(300, 0);
        for _ in 0..15 {
            socket.send_to(&packet, "255.255.255.255:67").ok()?;
            let mut answer = [0u8; 1500];
            if let Ok((length, _)) = socket.recv_from(&mut answer)
                && answer[4..8] == [1, 2, 3, 4]
            {
                let offered = Ipv4Addr::from(<[u8; 4]>::try_from(&answer[16..20]).unwrap());
                return Some((offered, answer[240..length].to_vec()));
            }
        }
        None
    }

    /// Asks for an IPv6 address: the advertised one and the name server's.
    pub async fn dhcp6_solicit(&self) -> Option<(Ipv6Addr, Option<Ipv6Addr>)> {
        let socket = self.udp("[::]:546").await;
        let mut packet = vec![1, 7, 7, 7];
        packet.extend([0, 1, 0, 10, 0, 3, 0, 1]); // client: a DUID of its hardware address
        packet.extend(self.mac.bytes());
        packet.extend([0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]); // an address, please
        packet.extend([0, 8, 0, 2, 0, 0, 0, 6, 0, 2, 0, 23]);
        for _ in 0..30 {
            // Until its own address has been found to be nobody else's, a guest cannot send.
            let _ = socket.send_to(&packet, "[ff02::1:2]:547");
            let mut answer = [0u8; 1500];
            match socket.recv_from(&mut answer) {
                Ok((length, _)) if answer[..4] == [2, 7, 7, 7] => {
                    let options = &answer[4..length];
                    let leased = option6(option6(options, 3)?.get(12..)?, 5)?;
                    let server = option6(options, 23).and_then(address6);
                    return Some((address6(leased)?, server));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        None
    }
}

fn option6(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = options {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return rest.get(..length);
        }
        options = rest.get(length..)?;
    }
    None
}

fn address6(bytes: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?))
}

/// Whether a datagram of `from` reaches `at`, and whom it seems to be from. Each is told apart from earlier ones that were
/// held up on the way.
pub fn reaches(from: &UdpSocket, to: &str, at: &UdpSocket) -> Option<SocketAddr> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let first = NUMBER.fetch_add(3, Ordering::SeqCst);
    for number in first..first + 3 {
        // A refused neighbour shows as an error of the next send: that is "no" too.
        if from.send_to(&number.to_be_bytes(), to).is_err() {
            continue;
        }
        let mut got = [0u8; 8];
        while let Ok((8, peer)) = at.recv_from(&mut got) {
            if u64::from_be_bytes(got) >= first {
                return Some(peer);
            }
        }
    }
    None
}

/// Whom `bytes` of `from` seem to be from when they arrive at `at`; sent again and again until they do.
pub fn arrives(from: &UdpSocket, bytes: &[u8], to: SocketAddr, at: &UdpSocket) -> SocketAddr {
    let mut got = [0u8; 2000];
    for _ in 0..50 {
        let _ = from.send_to(bytes, to);
        while let Ok((length, peer)) = at.recv_from(&mut got) {
            if got[..length] == *bytes {
                return peer;
            }
        }
    }
    panic!("{} bytes never arrive at {to}", bytes.len());
}

/// Takes a namespace's name away, though what runs in it goes on: what `ip netns delete` does.
pub fn forget(namespace: &Namespace) {
    let _ = nix::mount::umount2(&ns::path(namespace), nix::mount::MntFlags::MNT_DETACH);
    let _ = std::fs::remove_file(ns::path(namespace));
}

impl Drop for Guest {
    fn drop(&mut self) {
        // When a test fails half-way; the story ends guests itself.
        forget(&self.namespace);
    }
}
