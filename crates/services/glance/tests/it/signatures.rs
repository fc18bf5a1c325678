//! Signed images, with keys, certificates and signatures that OpenSSL made, and a key manager that the test plays.

use crate::cloud::Cloud;
use crate::imports::{bytes, direct, download, import, stage, tasks};
use crate::web::Web;
use glance::Conf;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOUR: Duration = Duration::from_secs(3600);

/// A folder in which OpenSSL works.
struct Signer(PathBuf);

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Signer {
    fn new() -> Signer {
        let folder = std::env::temp_dir().join(format!("glance-signer-{}", base::new_id()));
        std::fs::create_dir(&folder).unwrap();
        Signer(folder)
    }

    #[expect(clippy::disallowed_methods, reason = "the signer beside our verifier")]
    fn openssl(&self, words: &str) {
        let done = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(&self.0)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl {words}: {told}");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    /// A key, and its certificate in DER.
    fn certificate(&self, name: &str, key: &str, days: &str) -> Vec<u8> {
        self.openssl(&key.replace("KEY", name));
        let words = "req -x509 -new -key KEY -subj /CN=signer -outform DER -out KEY.der";
        self.openssl(&format!("{} -days {days}", words.replace("KEY", name)));
        self.read(&format!("{name}.der"))
    }

    /// Base64 of a signature.
    fn sign(&self, name: &str, hash: &str, data: &[u8]) -> String {
        use base64::Engine;
        std::fs::write(self.0.join("data"), data).unwrap();
        let options = match name.starts_with("rsa") {
            // The longest salt, which is what OpenSSL's signers and upstream's verifier mean by none given.
            true => " -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-2",
            false => "",
        };
        self.openssl(&format!(
            "dgst -{hash} -sign {name}{options} -out data.sig data"
        ));
        base64::prelude::BASE64_STANDARD.encode(self.read("data.sig"))
    }
}

const RSA: &str = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out KEY";
const SECP384R1: &str = "ecparam -name secp384r1 -genkey -noout -out KEY";
const SECP521R1: &str = "ecparam -name secp521r1 -genkey -noout -out KEY";

/// A key manager: what it has, and who asked with which token for what.
#[derive(Clone, Default)]
struct Barbican {
    secrets: Arc<Mutex<BTreeMap<String, (&'static str, Vec<u8>)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Barbican {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = self.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut piece = vec![0; 4096];
                    let n = socket.read(&mut piece).await.unwrap_or_default();
                    if n == 0 {
                        break;
                    }
                    head.extend_from_slice(&piece[..n]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let (status, kind, body) = own.answer(&head);
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.write_all(&body).await;
            }
        });
        format!("http://127.0.0.1:{port}")
    }

    /// As Barbican: metadata to who accepts JSON, the payload by its own type, and nothing without a token.
    fn answer(&self, head: &str) -> (u16, &'static str, Vec<u8>) {
        let header = |name: &str| {
            let line = head
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_default().to_string()
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (token, accept) = (header("x-auth-token"), header("accept"));
        self.asked.lock().unwrap().push(format!("{token} {path}"));
        let rest = path.strip_prefix("/v1/secrets/").unwrap_or_default();
        let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
        let secrets = self.secrets.lock().unwrap();
        let json = "application/json";
        let octets = "application/octet-stream";
        match (token.as_str(), secrets.get(id), part, accept.as_str()) {
            ("", ..) => (401, json, b"{}".to_vec()),
            (_, None, ..) => (404, json, b"{\"title\": \"Not Found\"}".to_vec()),
            (_, Some((kind, _)), "", "application/json") => {
                let told = json!({"secret_type": kind, "status": "ACTIVE", "content_types": {"default": octets}});
                (200, json, told.to_string().into_bytes())
            }
            (_, Some((_, payload)), "payload", "application/octet-stream") => {
                (200, octets, payload.clone())
            }
            _ => (406, json, b"{}".to_vec()),
        }
    }

    fn keep(&self, kind: &'static str, payload: Vec<u8>) -> String {
        let id = base::new_id();
        self.secrets
            .lock()
            .unwrap()
            .insert(id.clone(), (kind, payload));
        id
    }
}

fn signed(signature: &str, hash: &str, key_type: &str, certificate: &str) -> Value {
    json!({
        "img_signature": signature, "img_signature_hash_method": hash,
        "img_signature_key_type": key_type, "img_signature_certificate_uuid": certificate,
    })
}

/// What glance says of an upload, and what the image is then.
async fn upload(cloud: &Cloud, extra: Value, data: &[u8]) -> (u16, String, String) {
    let id = cloud.image("p1", extra).await;
    let answer = cloud.upload("p1", &id, data.to_vec()).await;
    let status = cloud.status(&id).await;
    let words = answer.json().to_string();
    (answer.status, words, status.as_str().unwrap().to_string())
}

async fn cloud_with(barbican: &Barbican) -> Cloud {
    let cloud = Cloud::new().await;
    *cloud.identity.key_manager.lock().unwrap() = Some(barbican.start().await);
    // Its clock stands still, and certificates are made after it was set.
    cloud.clock.advance(HOUR);
    cloud
}

#[tokio::test]
async fn what_the_key_did_not_sign_is_not_stored() {
    let (signer, barbican) = (Signer::new(), Barbican::default());
    let cloud = cloud_with(&barbican).await;
    signer.openssl("dsaparam -out dsa.param 1024");
    let dsa = "gendsa -out KEY dsa.param";
    let data = b"an image, as its maker made it";
    for (name, make, key_type, hashes) in [
        ("rsa", RSA, "RSA-PSS", &["224", "256", "384", "512"][..]),
        (
            "p384",
            SECP384R1,
            "ECC_SECP384R1",
            &["224", "256", "384", "512"],
        ),
        (
            "p521",
            SECP521R1,
            "ECC_SECP521R1",
            &["224", "256", "384", "512"],
        ),
        ("dsa", dsa, "DSA", &["224", "256"]),
    ] {
        let id = barbican.keep("certificate", signer.certificate(name, make, "2"));
        for hash in hashes {
            let signature = signer.sign(name, &format!("sha{hash}"), data);
            let says = signed(&signature, &format!("SHA-{hash}"), key_type, &id);
            let (status, words, image) = upload(&cloud, says.clone(), data).await;
            assert_eq!(
                (status, image.as_str()),
                (204, "active"),
                "{name} {hash}: {words}"
            );
            let (status, words, image) =
                upload(&cloud, says, b"an image, as somebody else made it").await;
            assert_eq!((status, image.as_str()), (400, "queued"), "{name} {hash}");
            assert!(
                words.contains("Signature verification failed for image"),
                "{words}"
            );
        }
        // Another hash than the one that was signed.
        let signature = signer.sign(name, "sha256", data);
        let (status, _, image) =
            upload(&cloud, signed(&signature, "SHA-224", key_type, &id), data).await;
        assert_eq!((status, image.as_str()), (400, "queued"), "{name}");
    }
    assert_eq!(cloud.files().len(), 14, "nothing of what was refused");
    let asked = barbican.asked.lock().unwrap();
    assert!(
        asked.iter().all(|a| a.starts_with("p1 ")),
        "with the caller's token: {asked:?}"
    );
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_before_the_data() {
    let (signer, barbican) = (Signer::new(), Barbican::default());
    let cloud = cloud_with(&barbican).await;
    let data = b"data";
    let der = signer.certificate("p384", SECP384R1, "2");
    signer.openssl("x509 -inform DER -in p384.der -out p384.pem");
    let signature = signer.sign("p384", "sha256", data);
    let good = barbican.keep("certificate", der.clone());
    let pem = barbican.keep("certificate", signer.read("p384.pem"));
    let opaque = barbican.keep("opaque", der);
    let junk = barbican.keep("certificate", b"junk".to_vec());
    let key = "ECC_SECP384R1";
    for (says, words) in [
        (
            signed("not base64", "SHA-256", key, &good),
            "not properly encoded using base64",
        ),
        (
            signed(&signature, "MD5", key, &good),
            "Invalid signature hash method: MD5",
        ),
        (
            signed(&signature, "SHA-256", "ROT13", &good),
            "Invalid signature key type: ROT13",
        ),
        (
            signed(&signature, "SHA-256", "RSA-PSS", &good),
            "Invalid public key type for signature key type: RSA-PSS",
        ),
        (
            signed(&signature, "SHA-256", "ECC_SECP521R1", &good),
            "Invalid public key type",
        ),
        (
            signed(&signature, "SHA-256", key, &opaque),
            "Invalid certificate format: opaque",
        ),
        (
            signed(&signature, "SHA-256", key, &junk),
            "Unable to load certificate",
        ),
        (
            signed(&signature, "SHA-256", key, &base::new_id()),
            "Unable to retrieve certificate with ID",
        ),
        (
            signed(&signature, "SHA-256", key, "../v1/orders"),
            "Unable to retrieve certificate with ID",
        ),
    ] {
        let (status, told, image) = upload(&cloud, says, data).await;
        assert_eq!((status, image.as_str()), (400, "queued"), "{words}");
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(cloud.files().is_empty());
    // Three of four properties are no signature.
    let mut three = signed(&signature, "SHA-256", key, &good);
    three
        .as_object_mut()
        .unwrap()
        .remove("img_signature_key_type");
    assert_eq!(upload(&cloud, three, data).await.0, 204);
    assert_eq!(
        upload(&cloud, signed(&signature, "SHA-256", key, &pem), data)
            .await
            .0,
        204
    );
    // A certificate has its time.
    cloud.clock.advance(HOUR * 72);
    let (status, told, _) = upload(&cloud, signed(&signature, "SHA-256", key, &good), data).await;
    assert_eq!(status, 400);
    assert!(told.contains("Certificate is not valid after"), "{told}");
}

#[tokio::test]
async fn imports_are_held_to_signatures_too() {
    let (signer, barbican) = (Signer::new(), Barbican::default());
    let web = Web::start(b"data".to_vec()).await;
    let conf = Conf {
        allowed_hosts: vec!["127.0.0.1".to_string()],
        allowed_ports: vec![web.port.to_string()],
        ..Conf::default()
    };
    let cloud = Cloud::with(conf).await;
    *cloud.identity.key_manager.lock().unwrap() = Some(barbican.start().await + "/v1/");
    cloud.clock.advance(HOUR);
    let der = signer.certificate("p384", SECP384R1, "2");
    let id = barbican.keep("certificate", der);
    let signature = signer.sign("p384", "sha384", b"data");
    let says = || signed(&signature, "SHA-384", "ECC_SECP384R1", &id);
    for (data, wanted) in [("data", "active"), ("atad", "queued")] {
        let image = cloud.image("p1", says()).await;
        assert_eq!(
            stage(&cloud, "p1", &image, data.to_string()).await.status,
            204
        );
        assert_eq!(import(&cloud, "p1", &image, direct()).await.0, 202);
        cloud.imported().await;
        assert_eq!(cloud.status(&image).await, wanted, "{data}");
    }
    let other = signer.sign("p384", "sha384", b"atad");
    let image = cloud
        .image("p1", signed(&other, "SHA-384", "ECC_SECP384R1", &id))
        .await;
    assert_eq!(
        import(&cloud, "p1", &image, download(&web.uri("/image")))
            .await
            .0,
        202
    );
    cloud.imported().await;
    assert_eq!(cloud.status(&image).await, "queued");
    let told = tasks(&cloud, &image).await[0]["message"].to_string();
    assert!(told.contains("Signature verification failed"), "{told}");
    let image = cloud.image("p1", says()).await;
    assert_eq!(
        import(&cloud, "p1", &image, download(&web.uri("/image")))
            .await
            .0,
        202
    );
    cloud.imported().await;
    assert_eq!(bytes(&cloud, &image).await, b"data");
    // Somebody else's image, which cannot be changed, fetches no certificate.
    let asked = barbican.asked.lock().unwrap().len();
    let community = cloud.image("p1", says()).await;
    let open = json!([{"op": "replace", "path": "/visibility", "value": "community"}]);
    assert_eq!(cloud.patch("p1", &community, open).await.0, 200);
    assert_eq!(
        import(&cloud, "p2", &community, download(&web.uri("/image")))
            .await
            .0,
        403
    );
    assert_eq!(barbican.asked.lock().unwrap().len(), asked);
}
