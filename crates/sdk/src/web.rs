//! What a stranger asks us to fetch from the web. The stranger chooses the address, so that it must not lead to what only
//! we can reach: every address is checked after the name was resolved, and the connection goes to the one that was checked.

use base::{Error, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use oslo_http::Body;
use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Which addresses may be fetched; upstream's `import_filtering_opts`. Where something is allowed by name, nothing
/// else of its kind is, and what is disallowed does not matter.
#[derive(Clone, Debug, Default)]
pub struct WebFilter {
    /// `http`, `https`.
    pub allowed_schemes: Vec<String>,
    /// Schemes that are refused.
    pub disallowed_schemes: Vec<String>,
    /// Names, addresses, or networks (`10.0.0.0/8`).
    pub allowed_hosts: Vec<String>,
    /// The same, refused.
    pub disallowed_hosts: Vec<String>,
    /// Ports.
    pub allowed_ports: Vec<u16>,
    /// Ports that are refused.
    pub disallowed_ports: Vec<u16>,
}

/// Each hop is checked like the first address.
const MOST_REDIRECTS: usize = 5;

fn refused(why: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("URI does not pass filtering: {why}"))
}

/// An IPv4 address in whatever form IPv6 wraps it.
fn bare(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    if let Some(four) = six.to_ipv4_mapped() {
        return IpAddr::V4(four);
    }
    let parts = six.segments();
    let four = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // NAT64, 6to4, SIIT, ISATAP, Teredo (which hides it), and the deprecated "compatible" form.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => four(high, low),
        [0x2002, high, low, ..] => four(high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => four(high, low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => four(high, low),
        [0x2001, 0, _, _, _, _, high, low] => four(!high, !low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        _ => ip,
    }
}

/// Addresses that mean this machine, its link, or nobody: 169.254.169.254 is one of them.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => {
            four.is_loopback()
                || four.is_link_local()
                || four.is_multicast()
                || four.is_broadcast()
                || four.octets()[0] == 0
        }
        IpAddr::V6(six) => {
            let unique_local_metadata = six == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            // Where in these the IPv4 address is only the network's own translator knows.
            let local_nat64 = six.segments()[..3] == [0x64, 0xff9b, 1];
            six.is_loopback()
                || six.is_unspecified()
                || six.is_multicast()
                || six.is_unicast_link_local()
                || unique_local_metadata
                || local_nat64
        }
    }
}

/// Whether an entry of a list of hosts names this address.
fn covers(entry: &str, ip: IpAddr) -> bool {
    let (net, length) = match entry.split_once('/') {
        Some((net, length)) => (net, length.parse::<u32>().ok()),
        None => (entry, None),
    };
    let net = net.trim_start_matches('[').trim_end_matches(']');
    let Ok(net) = net.parse::<IpAddr>() else {
        return false;
    };
    let same = |a: u128, b: u128, bits: u32, length: u32| {
        let shift = bits.saturating_sub(length.min(bits));
        shift >= 128 || a >> shift == b >> shift
    };
    match (bare(net), ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(
            u32::from(a).into(),
            u32::from(b).into(),
            32,
            length.unwrap_or(32),
        ),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128, length.unwrap_or(128)),
        _ => false,
    }
}

impl WebFilter {
    /// Checks what can be told of an address without resolving its name.
    pub fn check(&self, uri: &str) -> Result<()> {
        self.parse(uri).map(drop)
    }

    fn parse(&self, uri: &str) -> Result<Url> {
        // The parser turns decimal, octal and hexadecimal addresses into ordinary ones.
        let url = Url::parse(uri).map_err(|e| refused(format!("{uri} is no address: {e}")))?;
        let scheme = url.scheme();
        let named = |list: &[String], word: &str| list.iter().any(|w| w.eq_ignore_ascii_case(word));
        if !matches!(scheme, "http" | "https") {
            return Err(refused(format!("scheme {scheme}")));
        }
        let scheme_passes = match self.allowed_schemes.is_empty() {
            false => named(&self.allowed_schemes, scheme),
            true => !named(&self.disallowed_schemes, scheme),
        };
        if !scheme_passes {
            return Err(refused(format!("scheme {scheme}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("credentials in the address"));
        }
        let host = url.host_str().ok_or_else(|| refused("no host"))?;
        let port = url.port_or_known_default().unwrap_or_default();
        let port_passes = match self.allowed_ports.is_empty() {
            false => self.allowed_ports.contains(&port),
            true => !self.disallowed_ports.contains(&port),
        };
        if !port_passes {
            return Err(refused(format!("port {port}")));
        }
        match literal(&url) {
            Some(ip) => self.check_address(ip, host)?,
            None => {
                let host = host.trim_end_matches('.');
                let passes = match self.allowed_hosts.is_empty() {
                    false => named(&self.allowed_hosts, host),
                    true => !named(&self.disallowed_hosts, host),
                };
                if !passes {
                    return Err(refused(format!("host {host}")));
                }
            }
        }
        Ok(url)
    }

    /// `named` is the host of the address, which an operator may have allowed by name.
    fn check_address(&self, ip: IpAddr, named: &str) -> Result<()> {
        let ip = bare(ip);
        if self.allowed_hosts.iter().any(|entry| covers(entry, ip)) {
            return Ok(());
        }
        // A name that was allowed may lead to any address but one that is special.
        let by_name = |list: &[String]| list.iter().any(|w| w.eq_ignore_ascii_case(named));
        let passes = match self.allowed_hosts.is_empty() {
            false => by_name(&self.allowed_hosts),
            true => !self.disallowed_hosts.iter().any(|entry| covers(entry, ip)),
        };
        if !passes || is_special(ip) {
            return Err(refused(format!("address {ip}")));
        }
        Ok(())
    }

    /// The name's addresses, all of which must pass.
    async fn resolve(&self, url: &Url, lookup: Lookup<'_>) -> Result<Vec<SocketAddr>> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        if let Some(ip) = literal(url) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = lookup(host, port).await;
        let found =
            found.map_err(|e| Error::unavailable(format!("{host} is not known.")).log(e))?;
        for address in &found {
            self.check_address(address.ip(), host.trim_end_matches('.'))?;
        }
        Ok(found)
    }
}

/// Asks who has a name; the addresses, with the port.
type Lookup<'l> =
    &'l (dyn Fn(&str, u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> + Sync);

fn by_dns(host: &str, port: u16) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
    let host = host.to_string();
    Box::pin(async move {
        let found = tokio::net::lookup_host((host, port)).await?;
        Ok(found.collect())
    })
}

fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

/// What stands at the address, as a stream with its length.
pub async fn fetch(uri: &str, filter: &WebFilter) -> Result<Body> {
    fetch_by(&by_dns, uri, filter).await
}

async fn fetch_by(lookup: Lookup<'_>, uri: &str, filter: &WebFilter) -> Result<Body> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut url = filter.parse(uri)?;
    for _ in 0..=MOST_REDIRECTS {
        let addresses = filter.resolve(&url, lookup).await?;
        let host = url.host_str().unwrap_or_default().to_string();
        // No proxy, no second resolution: the connection goes to what was checked.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .resolve_to_addrs(&host, &addresses)
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(Error::internal)?;
        let down =
            |e: reqwest::Error| Error::unavailable(format!("{host} does not answer.")).log(e);
        let response = client.get(url.clone()).send().await.map_err(down)?;
        let status = response.status();
        if status.is_redirection() {
            let to = response
                .headers()
                .get("location")
                .and_then(|v| v.to_str().ok());
            let to = to.ok_or_else(|| refused("a redirection without an address"))?;
            let next = url.join(to).map_err(|e| refused(format!("{to}: {e}")))?;
            url = filter.parse(next.as_str())?;
            continue;
        }
        if !status.is_success() {
            return Err(Error::bad_request(format!(
                "{host} answers {}.",
                status.as_u16()
            )));
        }
        let length = response.content_length();
        let stream = response.bytes_stream();
        let stream = stream.map(|piece| piece.map_err(std::io::Error::other));
        return Ok(Body::stream(stream, length));
    }
    Err(refused("too many redirections"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| w.to_string()).collect()
    }

    fn usual() -> WebFilter {
        WebFilter {
            allowed_schemes: words(&["http", "https"]),
            allowed_ports: vec![80, 443],
            ..WebFilter::default()
        }
    }

    #[test]
    fn ossa_2026_004_addresses_in_disguise_are_refused() {
        let filter = usual();
        for uri in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
            "http://0.0.0.0/",
            "http://0.1.2.3/",
            "http://017700000001/",
            "http://0177.0.01/",
            "http://0251.0376.0251.0376/",
            "http://0xa9fea9fe/",
            "http://0xa9.0xfe.43518/",
            "http://169.254.43518/",
            "http://%31%32%37.0.0.1/",
            "http://①②⑦.0.0.1/",
            "http://127。0。0。1/",
            "http://127.0.0.1./",
            "http:\\\\127.0.0.1/",
            "http:/127.0.0.1/",
            "http://example.org@127.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::7f00:1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[::ffff:0:127.0.0.1]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b:1::7f00:1]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[2001::80ff:fffe]/",
            "http://[2001:db8::5efe:127.0.0.1]/",
            "http://[fd00:ec2::254]/",
            "http://[ff02::1]/",
            "http://[fe80::1]/",
            "http://[fe80::a9fe:a9fe%25eth0]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://user:secret@example.org/",
            "http://example.org:8774/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "gopher://example.org/",
            "example.org",
        ] {
            assert!(filter.check(uri).is_err(), "{uri}");
        }
        for uri in [
            "http://example.org/a",
            "https://example.org:443/",
            "http://192.0.2.1/",
        ] {
            filter.check(uri).unwrap();
        }
    }

    #[test]
    fn lists() {
        let deny = WebFilter {
            disallowed_hosts: words(&["internal.example", "10.0.0.0/8", "2001:db8::/32"]),
            disallowed_schemes: words(&["https"]),
            disallowed_ports: vec![22],
            ..WebFilter::default()
        };
        for uri in [
            "http://internal.example/",
            "http://INTERNAL.example./",
            "http://10.1.2.3/",
            "http://0x0a010203/",
            "http://[::ffff:10.1.2.3]/",
            "http://[2001:db8::1]/",
            "https://example.org/",
            "http://example.org:22/",
        ] {
            assert!(deny.check(uri).is_err(), "{uri}");
        }
        deny.check("http://example.org:8080/").unwrap();
        let allow = WebFilter {
            allowed_hosts: words(&["mirror.example", "127.0.0.1"]),
            ..WebFilter::default()
        };
        allow.check("http://mirror.example/").unwrap();
        allow.check("http://127.0.0.1:8099/").unwrap();
        assert!(allow.check("http://127.0.0.2/").is_err());
        assert!(allow.check("http://example.org/").is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let url = Url::parse("http://localhost/").unwrap();
        assert!(usual().resolve(&url, &by_dns).await.is_err());
        // A name that was allowed may not lead here either, unless the address was.
        let mut filter = usual();
        filter.allowed_hosts = words(&["localhost"]);
        assert!(filter.resolve(&url, &by_dns).await.is_err());
        filter.allowed_hosts = words(&["localhost", "127.0.0.0/8", "::1"]);
        assert!(filter.resolve(&url, &by_dns).await.is_ok());
    }

    /// Serves one answer to each caller; the address it is at, and what was asked.
    async fn server(answer: String) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = vec![0; 8192];
                let n = socket.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                heard.lock().unwrap().push(head);
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (address, asked)
    }

    /// A name whose owner answers each question differently, harmless first.
    #[tokio::test]
    async fn ossa_2026_004_a_name_is_asked_for_once_and_what_was_checked_is_connected_to() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndata";
        let (address, asked) = server(OK.into()).await;
        let mut filter = WebFilter {
            allowed_hosts: words(&["rebound.invalid", "127.0.0.1"]),
            ..WebFilter::default()
        };
        let questions = AtomicUsize::new(0);
        let answers = |_: &str, port: u16| -> BoxFuture<'static, _> {
            let first = questions.fetch_add(1, Ordering::SeqCst) == 0;
            let ip = if first {
                [127, 0, 0, 1]
            } else {
                [127, 0, 0, 2]
            };
            Box::pin(async move { Ok(vec![SocketAddr::from((ip, port))]) })
        };
        let uri = format!("http://rebound.invalid:{}/image", address.port());
        let body = fetch_by(&answers, &uri, &filter).await.unwrap();
        assert_eq!(&body.collect(99).await.unwrap()[..], b"data");
        assert_eq!(questions.load(Ordering::SeqCst), 1);
        assert!(asked.lock().unwrap()[0].contains("rebound.invalid"));
        // The second question is another fetch's, and is judged anew.
        let no = fetch_by(&answers, &uri, &filter).await.err().unwrap();
        assert!(no.message().contains("127.0.0.2"), "{}", no.message());
        // One harmless address does not cover for the rest.
        let both = |_: &str, port: u16| -> BoxFuture<'static, _> {
            let ips = [[127, 0, 0, 1], [169, 254, 169, 254]];
            Box::pin(async move { Ok(ips.map(|ip| SocketAddr::from((ip, port))).to_vec()) })
        };
        let no = fetch_by(&both, &uri, &filter).await.err().unwrap();
        assert!(no.message().contains("169.254.169.254"), "{}", no.message());
        assert_eq!(asked.lock().unwrap().len(), 1, "nobody was connected to");

        // A redirection asks again, and what it finds is judged like the first.
        let to = format!("HTTP/1.1 302 Found\r\nLocation: {uri}\r\nConnection: close\r\n\r\n");
        let (address, asked) = server(to).await;
        filter.allowed_hosts.push("other.invalid".into());
        questions.store(0, Ordering::SeqCst);
        let uri = format!("http://other.invalid:{}/", address.port());
        let no = fetch_by(&answers, &uri, &filter).await.err().unwrap();
        assert!(no.message().contains("127.0.0.2"), "{}", no.message());
        assert_eq!(questions.load(Ordering::SeqCst), 2);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn redirections_end() {
        let to = "HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\n\r\n";
        let (address, asked) = server(to.into()).await;
        let filter = WebFilter {
            allowed_hosts: words(&["127.0.0.1"]),
            ..WebFilter::default()
        };
        let no = fetch(&format!("http://{address}/"), &filter).await;
        assert!(no.err().unwrap().message().contains("too many"));
        assert_eq!(asked.lock().unwrap().len(), MOST_REDIRECTS + 1);
    }
}
