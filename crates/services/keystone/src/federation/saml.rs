//! What this cloud says of its users to others: a SAML 2.0 assertion, signed.
//!
//! The assertion is written in exclusive canonical form (no white space, names of namespaces where they are first
//! used, empty elements with both tags, attributes in order), so what is signed is the text itself and no XML is ever
//! read. Signatures are RSA with SHA-256, where upstream still has SHA-1.

use base::{Error, Result, Timestamp, new_hex_id};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sha2::{Digest, Sha256};

const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// With what this cloud signs.
pub(crate) struct Signer {
    key: RsaKeyPair,
    /// The certificate, base64 of DER.
    certificate: String,
}

/// The DER in the first block of that label.
fn pem(text: &str, label: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    Some(body.split_whitespace().collect())
}

/// The body of a certificate in PEM.
pub(crate) fn certificate(text: &str) -> Result<String> {
    let body = pem(text, "CERTIFICATE").filter(|b| STANDARD.decode(b).is_ok());
    body.ok_or_else(|| Error::internal("[saml] certfile holds no certificate in PEM"))
}

impl Signer {
    /// Reads a key and its certificate.
    pub(crate) fn parse(key: &str, cert: &str) -> Result<Signer> {
        let read = |label| {
            let der = STANDARD.decode(pem(key, label)?).ok()?;
            match label {
                "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).ok(),
                _ => RsaKeyPair::from_der(&der).ok(),
            }
        };
        let pair = read("PRIVATE KEY").or_else(|| read("RSA PRIVATE KEY"));
        Ok(Signer {
            key: pair.ok_or_else(|| Error::internal("[saml] keyfile holds no RSA key in PEM"))?,
            certificate: certificate(cert)?,
        })
    }

    fn sign(&self, text: &str) -> Result<String> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error::internal("an assertion could not be signed"))?;
        Ok(STANDARD.encode(signature))
    }
}

/// Who somebody is, and what they may do where.
pub(crate) struct Subject {
    pub user: String,
    pub user_domain: String,
    pub project: String,
    pub project_domain: String,
    pub roles: Vec<String>,
    /// Each as `JSON:{…}`.
    pub groups: Vec<String>,
}

/// What an assertion says beside.
pub(crate) struct Frame<'a> {
    /// Who says it.
    pub issuer: &'a str,
    /// To whom.
    pub recipient: &'a str,
    pub now: Timestamp,
    pub until: Timestamp,
}

/// As canonical XML has it between tags. What no XML may hold becomes a mark of that.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// As canonical XML has it in an attribute.
fn attribute(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

fn issuer(name: &str) -> String {
    format!(
        r#"<saml:Issuer Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity">{}</saml:Issuer>"#,
        text(name)
    )
}

/// An id that XML takes: it begins with no digit.
fn id() -> String {
    format!("_{}", new_hex_id())
}

fn statement(subject: &Subject) -> String {
    let one = std::slice::from_ref::<String>;
    let attributes = [
        ("openstack_user", one(&subject.user)),
        ("openstack_roles", &subject.roles),
        ("openstack_project", one(&subject.project)),
        ("openstack_project_domain", one(&subject.project_domain)),
        ("openstack_user_domain", one(&subject.user_domain)),
        ("openstack_groups", &subject.groups),
    ];
    let mut out = String::from("<saml:AttributeStatement>");
    for (name, values) in attributes {
        if values.is_empty() {
            continue;
        }
        out.push_str(&format!(
            r#"<saml:Attribute Name="{name}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">"#
        ));
        for value in values {
            out.push_str(&format!(
                "<saml:AttributeValue>{}</saml:AttributeValue>",
                text(value)
            ));
        }
        out.push_str("</saml:Attribute>");
    }
    out.push_str("</saml:AttributeStatement>");
    out
}

/// The signed assertion.
fn assertion(signer: &Signer, subject: &Subject, frame: &Frame<'_>) -> Result<String> {
    let (id, now, until) = (id(), frame.now.iso_z(), frame.until.iso_z());
    let head = format!(
        r#"<saml:Assertion xmlns:saml="{ASSERTION}" ID="{id}" IssueInstant="{now}" Version="2.0">{}"#,
        issuer(frame.issuer)
    );
    let (recipient, authority) = (attribute(frame.recipient), text(frame.issuer));
    let tail = [
        format!(
            r#"<saml:Subject><saml:NameID>{}</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{until}" Recipient="{recipient}"></saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject>"#,
            text(&subject.user)
        ),
        format!(
            r#"<saml:AuthnStatement AuthnInstant="{now}" SessionIndex="{}" SessionNotOnOrAfter="{until}"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef><saml:AuthenticatingAuthority>{authority}</saml:AuthenticatingAuthority></saml:AuthnContext></saml:AuthnStatement>"#,
            new_hex_id()
        ),
        statement(subject),
        "</saml:Assertion>".to_string(),
    ]
    .concat();
    let digest = STANDARD.encode(Sha256::digest(format!("{head}{tail}")));
    let signed_info = |namespace: &str| {
        format!(
            r##"<xmldsig:SignedInfo{namespace}><xmldsig:CanonicalizationMethod Algorithm="{C14N}"></xmldsig:CanonicalizationMethod><xmldsig:SignatureMethod Algorithm="{RSA_SHA256}"></xmldsig:SignatureMethod><xmldsig:Reference URI="#{id}"><xmldsig:Transforms><xmldsig:Transform Algorithm="{ENVELOPED}"></xmldsig:Transform><xmldsig:Transform Algorithm="{C14N}"></xmldsig:Transform></xmldsig:Transforms><xmldsig:DigestMethod Algorithm="{SHA256}"></xmldsig:DigestMethod><xmldsig:DigestValue>{digest}</xmldsig:DigestValue></xmldsig:Reference></xmldsig:SignedInfo>"##
        )
    };
    // By itself it has to name its namespace; in its place the element around it does.
    let signature = signer.sign(&signed_info(&format!(r#" xmlns:xmldsig="{DSIG}""#)))?;
    let (info, certificate) = (signed_info(""), &signer.certificate);
    Ok(format!(
        r#"{head}<xmldsig:Signature xmlns:xmldsig="{DSIG}">{info}<xmldsig:SignatureValue>{signature}</xmldsig:SignatureValue><xmldsig:KeyInfo><xmldsig:X509Data><xmldsig:X509Certificate>{certificate}</xmldsig:X509Certificate></xmldsig:X509Data></xmldsig:KeyInfo></xmldsig:Signature>{tail}"#
    ))
}

/// The response that carries the assertion to the recipient.
pub(crate) fn response(signer: &Signer, subject: &Subject, frame: &Frame<'_>) -> Result<String> {
    let assertion = assertion(signer, subject, frame)?;
    Ok(format!(
        r#"<ns0:Response xmlns:ns0="{PROTOCOL}" xmlns:saml="{ASSERTION}" Destination="{}" ID="{}" IssueInstant="{}" Version="2.0">{}<ns0:Status><ns0:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"></ns0:StatusCode></ns0:Status>{assertion}</ns0:Response>"#,
        attribute(frame.recipient),
        id(),
        frame.now.iso_z(),
        issuer(frame.issuer),
    ))
}

/// The same for an enhanced client, which carries it itself.
pub(crate) fn envelope(response: &str, relay_state_prefix: &str) -> String {
    format!(
        r#"<ns0:Envelope xmlns:ns0="http://schemas.xmlsoap.org/soap/envelope/" xmlns:ns1="urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp"><ns0:Header><ns1:RelayState ns0:actor="http://schemas.xmlsoap.org/soap/actor/next" ns0:mustUnderstand="1">{}{}</ns1:RelayState></ns0:Header><ns0:Body>{response}</ns0:Body></ns0:Envelope>"#,
        text(relay_state_prefix),
        new_hex_id()
    )
}

/// What others must know of this cloud to believe it.
pub(crate) fn metadata(entity_id: &str, sso_endpoint: &str, certificate: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<ns0:EntityDescriptor xmlns:ns0="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ns1="{DSIG}" entityID="{}"><ns0:IDPSSODescriptor protocolSupportEnumeration="{PROTOCOL}"><ns0:KeyDescriptor use="signing"><ns1:KeyInfo><ns1:X509Data><ns1:X509Certificate>{certificate}</ns1:X509Certificate></ns1:X509Data></ns1:KeyInfo></ns0:KeyDescriptor><ns0:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:URI" Location="{}"></ns0:SingleSignOnService></ns0:IDPSSODescriptor></ns0:EntityDescriptor>
"#,
        attribute(entity_id),
        attribute(sso_endpoint),
    )
}
