//! Directories for tests: a private OpenLDAP server, started from the installed package and gone with the test.

use crate::port;
use crate::server::{Server, missing, program};
use base::{Error, Result};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

const SLAPD: &str = "/usr/sbin/slapd";

/// An OpenLDAP server of one's own, with everything below `dc=example,dc=org`. Killed when dropped.
pub struct Slapd {
    server: Server,
    folder: PathBuf,
    port: u16,
    /// Where it speaks TLS from the first byte on, if it has a certificate.
    tls_port: Option<u16>,
}

/// How it is special.
#[derive(Clone, Copy, Default)]
pub struct Special<'a> {
    /// Its certificate and the key of it, PEM.
    pub certificate: Option<(&'a str, &'a str)>,
    /// More lines of its configuration, of the database.
    pub lines: &'a str,
}

/// Its operator, who may change everything.
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// The operator's password.
pub const ADMIN_PASSWORD: &str = "admin-secret";

impl Slapd {
    /// Starts a server that holds these entries (LDIF); without the package the error says what to install.
    pub async fn start(entries: &str) -> Result<Slapd> {
        Slapd::start_special(entries, Special::default()).await
    }

    /// The same with a certificate, or with limits.
    pub async fn start_special(entries: &str, special: Special<'_>) -> Result<Slapd> {
        let folder = std::env::temp_dir().join(format!("ldap-{}", base::new_hex_id()));
        std::fs::create_dir_all(folder.join("data"))?;
        let mut server = Slapd {
            server: Server::default(),
            folder,
            port: 0,
            tls_port: None,
        };
        server.install(entries, special)?;
        // A port that was free a moment ago; if somebody took it meanwhile, another is tried.
        let mut outcome = Err(Error::internal("slapd does not start"));
        for _ in 0..5 {
            server.port = port::free()?;
            if special.certificate.is_some() {
                server.tls_port = Some(port::free()?);
            }
            outcome = server.restart().await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|()| server)
    }

    fn install(&self, entries: &str, special: Special<'_>) -> Result<()> {
        let schemas = ["core", "cosine", "inetorgperson", "nis"];
        let schemas: String = schemas
            .iter()
            .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
            .collect();
        let folder = self.folder.display();
        let mut tls = String::new();
        if let Some((certificate, key)) = special.certificate {
            std::fs::write(self.certificate(), certificate)?;
            std::fs::write(self.folder.join("key.pem"), key)?;
            tls = format!(
                "TLSCertificateFile {folder}/certificate.pem\nTLSCertificateKeyFile {folder}/key.pem\n"
            );
        }
        let lines = special.lines;
        let conf = format!(
            "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {folder}/pid\n{tls}\
             database mdb\nsuffix \"dc=example,dc=org\"\nrootdn \"{ADMIN}\"\nrootpw {ADMIN_PASSWORD}\n\
             directory {folder}/data\nmaxsize 16777216\ndbnosync\n{lines}\n"
        );
        std::fs::write(self.folder.join("slapd.conf"), conf)?;
        std::fs::write(self.folder.join("entries.ldif"), entries)?;
        // The same program loads entries.
        let loaded = program(SLAPD)
            .args(["-T", "add", "-l"])
            .arg(self.folder.join("entries.ldif"))
            .arg("-f")
            .arg(self.folder.join("slapd.conf"))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| missing("slapd", "slapd", &e))?;
        match loaded.status.success() {
            true => Ok(()),
            false => Err(Error::internal(format!(
                "slapadd failed: {}",
                String::from_utf8_lossy(&loaded.stderr)
            ))),
        }
    }

    /// Starts the server again after [`Slapd::kill`], with the entries and the port it had.
    pub async fn restart(&mut self) -> Result<()> {
        let mut command = program(SLAPD);
        let mut listens = format!("{}/", self.url());
        if let Some(url) = self.tls_url() {
            listens.push_str(&format!(" {url}/"));
        }
        command
            .args(["-d", "0", "-h", &listens, "-f"])
            .arg(self.folder.join("slapd.conf"));
        let patience = Duration::from_secs(30);
        self.server
            .start(&mut command, "slapd", self.port, patience)
            .await
    }

    /// What `[ldap] url` wants.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The same for TLS from the first byte on, if it has a certificate.
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port
            .map(|port| format!("ldaps://127.0.0.1:{port}"))
    }

    /// Where its certificate is.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// Stops the server as a crash would; its entries stay for [`Slapd::restart`].
    pub fn kill(&mut self) {
        self.server.kill();
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
