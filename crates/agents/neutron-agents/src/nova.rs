//! The way to nova's metadata API: plain, or TLS.

use base::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where distributions keep the authorities that the machine trusts.
const OF_THE_MACHINE: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// A connection to nova.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where nova's metadata API is.
#[derive(Clone, Debug)]
pub struct Nova {
    /// `host:port`.
    pub address: String,
    tls: Option<Tls>,
}

#[derive(Clone, Debug)]
struct Tls {
    name: ServerName<'static>,
    ca: Option<PathBuf>,
    /// What [`Nova::trust`] read.
    config: Option<Arc<ClientConfig>>,
}

impl Nova {
    /// `url`: `http://host:port`, or `https://host:port` of a server whose certificate comes from an authority of the
    /// file `ca`, or, without it, from one of the machine's.
    pub fn parse(url: &str, ca: Option<&Path>) -> Result<Nova> {
        let bad = || {
            Error::bad_request(format!(
                "[neutron_agents] nova_metadata_url: '{url}' makes no sense"
            ))
        };
        let (scheme, address) = url.split_once("://").ok_or_else(bad)?;
        let address = address.trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        let tls = match scheme {
            "http" => None,
            "https" => {
                let name = host.trim_matches(['[', ']']).to_string();
                Some(Tls {
                    name: ServerName::try_from(name).map_err(|_| bad())?,
                    ca: ca.map(Path::to_path_buf),
                    config: None,
                })
            }
            _ => return Err(bad()),
        };
        let address = address.to_string();
        Ok(Nova { address, tls })
    }

    /// The name or address alone.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_matches(['[', ']'])
    }

    /// Reads the authorities; needed before [`Nova::connect`], by the metadata agent only.
    pub fn trust(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.config = Some(trusting(tls.ca.as_deref())?);
        }
        Ok(())
    }

    /// Connects, and makes sure that it is nova.
    pub async fn connect(&self) -> Result<Box<dyn Stream>> {
        let plain = TcpStream::connect(&self.address).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(plain));
        };
        let config = tls.config.clone();
        let config = config.ok_or_else(|| Error::internal("no authority was read"))?;
        let connector = TlsConnector::from(config);
        Ok(Box::new(connector.connect(tls.name.clone(), plain).await?))
    }
}

fn trusting(ca: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let found = ca.map(Path::to_path_buf).or_else(|| {
        let mut known = OF_THE_MACHINE.iter().map(PathBuf::from);
        known.find(|p| p.exists())
    });
    let path = found.ok_or_else(|| {
        Error::bad_request(
            "[neutron_agents] auth_ca_cert: this machine knows no authorities; name a file of them",
        )
    })?;
    let bad = |e: &dyn std::fmt::Display| Error::bad_request(format!("{}: {e}", path.display()));
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(&path).map_err(|e| bad(&e))? {
        // The machine's list may hold what nobody can use any more.
        if let Err(e) = roots.add(cert.map_err(|e| bad(&e))?) {
            tracing::debug!("{}: {e}", path.display());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn an_address_without_sense_is_refused() {
        for url in [
            "",
            "nova:8775",
            "ftp://nova:8775",
            "http://nova",
            "http://nova:x",
            "http://:1",
            "http://a/b:1",
        ] {
            assert!(Nova::parse(url, None).is_err(), "{url}");
        }
        let nova = Nova::parse("http://[fd00::1]:8775/", None).unwrap();
        assert_eq!(
            (nova.address.as_str(), nova.host()),
            ("[fd00::1]:8775", "fd00::1")
        );
    }

    #[tokio::test]
    async fn tls_is_spoken_with_whom_the_authority_names_only() {
        let folder = std::env::temp_dir().join(base::new_hex_id());
        std::fs::create_dir(&folder).unwrap();
        let make = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
            let (cert, key) = (
                folder.join(format!("{name}.pem")),
                folder.join(format!("{name}.key")),
            );
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            (cert, key)
        };
        let (cert, key) = make("nova");
        let (stranger, _) = make("stranger");
        let chain = CertificateDer::pem_file_iter(&cert)
            .unwrap()
            .map(|c| c.unwrap())
            .collect();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(b"nova").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        let mut nova = Nova::parse(&url, Some(&cert)).unwrap();
        nova.trust().unwrap();
        let mut said = String::new();
        nova.connect()
            .await
            .unwrap()
            .read_to_string(&mut said)
            .await
            .unwrap();
        assert_eq!(said, "nova");
        let mut nova = Nova::parse(&url, Some(&stranger)).unwrap();
        nova.trust().unwrap();
        assert!(nova.connect().await.is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
