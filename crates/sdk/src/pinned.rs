//! A server known by its certificate's fingerprint only: how a host that knows nothing yet speaks to its first controller.

use base::{Error, Kind, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The SHA-256 of a certificate in DER.
pub type Fingerprint = [u8; 32];

#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let seen: Fingerprint = Sha256::digest(end_entity.as_ref()).into();
        if seen == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// POSTs JSON to a server whose certificate has this fingerprint; anybody else is 503. Its refusals come as errors.
pub async fn post_pinned(url: &str, fingerprint: Fingerprint, body: &Value) -> Result<Value> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned {
        fingerprint,
        provider: Arc::clone(&provider),
    };
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(Error::internal)?;
    let down = |e: reqwest::Error| Error::unavailable(format!("{url} does not answer: {e:?}"));
    let response = client.post(url).json(body).send().await.map_err(down)?;
    let status = response.status().as_u16();
    let reply: Value = response.json().await.map_err(down)?;
    if status == 200 {
        return Ok(reply);
    }
    let words = reply["error"]["message"].as_str().unwrap_or("refused");
    let kind = match status {
        401 => Kind::Unauthorized,
        400 => Kind::BadRequest,
        _ => Kind::Unavailable,
    };
    Err(Error::new(kind, words.to_string()))
}
