//! Tokens as signed JSON (`[token] provider = jws`), in upstream's claims: whoever has the public key can read and check
//! them, only who has the private one makes them. ES256, and RS256 for operators who bring an RSA key.
//!
//! All public keys known are tried, so a token outlives the change to another private key.

mod keys;
mod repository;

pub(crate) use repository::Jws;

use crate::token::Claims;
use crate::token::payload::{BY_CERTIFICATE, Place, Scope, Via, known_method};
use base::{Error, Result, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Private, Public};
use keystone_types::IdRef;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is signed. Names, and what is left out, are upstream's.
#[derive(Serialize, Deserialize)]
struct Body {
    sub: String,
    iat: i64,
    exp: i64,
    openstack_methods: Vec<String>,
    openstack_audit_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_system: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_domain_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_project_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_trust_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_app_cred_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_group_ids: Option<Vec<IdRef>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_idp_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_protocol_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_access_token_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    openstack_thumbprint: Option<String>,
    /// An element of our own, which upstream ignores: with whole seconds only, a token made in the second of a password
    /// change would count as made before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ferrostack_iat_micros: Option<i64>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

impl Body {
    /// `None` for a scope that signed tokens have no words for here.
    fn of(claims: &Claims) -> Option<Body> {
        let mut body = Body {
            sub: claims.user_id.clone(),
            iat: claims.issued_at.seconds(),
            exp: claims.expires_at.seconds(),
            openstack_methods: claims.methods.iter().map(|m| m.to_string()).collect(),
            openstack_audit_ids: claims.audit_ids.clone(),
            openstack_system: None,
            openstack_domain_id: None,
            openstack_project_id: claims.scope.project_id().map(str::to_string),
            openstack_trust_id: None,
            openstack_app_cred_id: None,
            openstack_group_ids: None,
            openstack_idp_id: None,
            openstack_protocol_id: None,
            openstack_access_token_id: None,
            openstack_thumbprint: None,
            ferrostack_iat_micros: Some(claims.issued_at.0.rem_euclid(1_000_000)),
        };
        match &claims.scope {
            Scope::Unscoped | Scope::Project(_) => {}
            Scope::Domain(id) => body.openstack_domain_id = Some(id.clone()),
            Scope::System => body.openstack_system = Some("all".into()),
            Scope::Trust { id, .. } => body.openstack_trust_id = Some(id.clone()),
            Scope::AppCred { id, .. } => body.openstack_app_cred_id = Some(id.clone()),
            Scope::Oauth {
                access_token_id, ..
            } => body.openstack_access_token_id = Some(access_token_id.clone()),
            Scope::Certified { thumbprint, .. } => {
                body.openstack_thumbprint = Some(thumbprint.clone());
            }
            Scope::Federated { via, place } => {
                let groups = via.group_ids.iter().map(|id| IdRef { id: id.clone() });
                body.openstack_group_ids = Some(groups.collect());
                body.openstack_idp_id = Some(via.idp_id.clone());
                body.openstack_protocol_id = Some(via.protocol_id.clone());
                if let Place::Domain(id) = place {
                    body.openstack_domain_id = Some(id.clone());
                }
            }
        }
        Some(body)
    }

    fn claims(self) -> Option<Claims> {
        let micros = |seconds: i64, more: i64| {
            seconds
                .checked_mul(1_000_000)
                .and_then(|whole| whole.checked_add(more))
                .map(Timestamp)
        };
        let project_id = self.openstack_project_id;
        let certified = self.openstack_thumbprint.is_some();
        let scope = if let Some(thumbprint) = self.openstack_thumbprint {
            let project_id = project_id?;
            Scope::Certified {
                project_id,
                thumbprint,
            }
        } else if let Some(id) = self.openstack_trust_id {
            Scope::Trust { id, project_id }
        } else if let Some(id) = self.openstack_app_cred_id {
            let project_id = project_id?;
            Scope::AppCred { id, project_id }
        } else if let Some(access_token_id) = self.openstack_access_token_id {
            Scope::Oauth {
                access_token_id,
                project_id: project_id?,
            }
        } else if let Some(idp_id) = self.openstack_idp_id {
            let place = match (project_id, self.openstack_domain_id) {
                (Some(id), _) => Place::Project(id),
                (None, Some(id)) => Place::Domain(id),
                (None, None) => Place::Nowhere,
            };
            let groups = self.openstack_group_ids.unwrap_or_default();
            let via = Via {
                idp_id,
                protocol_id: self.openstack_protocol_id?,
                group_ids: groups.into_iter().map(|g| g.id).collect(),
            };
            Scope::Federated {
                via: Arc::new(via),
                place,
            }
        } else if let Some(id) = project_id {
            Scope::Project(id)
        } else if let Some(id) = self.openstack_domain_id {
            Scope::Domain(id)
        } else if let Some(system) = self.openstack_system {
            (system == "all").then_some(Scope::System)?
        } else {
            Scope::Unscoped
        };
        let methods = self.openstack_methods.iter();
        let methods = match certified {
            true => vec![BY_CERTIFICATE],
            false => methods.filter_map(|m| known_method(m)).collect(),
        };
        let more = self.ferrostack_iat_micros;
        let more = more.filter(|m| (0..1_000_000).contains(m)).unwrap_or(0);
        Some(Claims {
            user_id: self.sub,
            methods,
            scope,
            issued_at: micros(self.iat, more)?,
            expires_at: micros(self.exp, 0)?,
            audit_ids: self.openstack_audit_ids,
        })
    }
}

/// Whether a text may be such a token: Fernet's have no dots.
pub(crate) fn looks_like(token: &str) -> bool {
    token.contains('.')
}

fn sign(key: &Private, claims: &Claims) -> Result<String> {
    let body = Body::of(claims).ok_or_else(|| {
        Error::new(
            base::Kind::NotImplemented,
            "Tokens of this kind are not made while tokens are JWS.",
        )
    })?;
    let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, key.algorithm());
    let body = serde_json::to_vec(&body)?;
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(body, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// What a token says, if one of the keys' owners signed it, by the algorithm that the key is for: the header is what an
/// attacker writes, so it is not asked how to check.
fn open(keys: &[Public], token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, body) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let mut fitting = keys.iter().filter(|key| key.algorithm() == header.alg);
    if !fitting.any(|key| key.verifies(signed.as_bytes(), &signature)) {
        return None;
    }
    let body: Body = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    body.claims()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(scope: Scope) -> Claims {
        Claims {
            user_id: "ann".into(),
            methods: vec!["password", "totp"],
            scope,
            issued_at: Timestamp(1_767_323_045_000_006),
            expires_at: Timestamp::from_seconds(1_767_409_445),
            audit_ids: vec!["a".into(), "b".into()],
        }
    }

    #[test]
    fn every_scope_survives() {
        let key = Private::random().unwrap();
        let other = Private::random().unwrap();
        let keys = [other.public().clone(), key.public().clone()];
        let id = || "p".to_string();
        let via = Arc::new(Via {
            idp_id: "ACME".into(),
            protocol_id: "saml2".into(),
            group_ids: vec!["g".into(), "h".into()],
        });
        for scope in [
            Scope::Unscoped,
            Scope::Project(id()),
            Scope::Domain(id()),
            Scope::System,
            Scope::Trust {
                id: "t".into(),
                project_id: Some(id()),
            },
            Scope::Trust {
                id: "t".into(),
                project_id: None,
            },
            Scope::AppCred {
                id: "c".into(),
                project_id: id(),
            },
            Scope::Oauth {
                access_token_id: "a".into(),
                project_id: id(),
            },
            Scope::Certified {
                project_id: id(),
                thumbprint: "t".into(),
            },
            Scope::Unscoped.vouched(&via),
            Scope::Project(id()).vouched(&via),
            Scope::Domain(id()).vouched(&via),
        ] {
            let mut claims = claims(scope);
            if let Scope::Certified { .. } = &claims.scope {
                claims.methods = vec![BY_CERTIFICATE];
            }
            let token = sign(&key, &claims).unwrap();
            assert_eq!(open(&keys, &token), Some(claims));
            assert_eq!(open(&keys[..1], &token), None);
        }
    }

    #[test]
    fn nothing_else_is_a_token() {
        let key = Private::random().unwrap();
        let keys = [key.public().clone()];
        let token = sign(&key, &claims(Scope::System)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let body = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let other_body = encode(&body.replace("ann", "bob"));
        let none = encode(r#"{"alg":"none","typ":"JWT"}"#);
        let symmetric = encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        for bad in [
            String::new(),
            ".".into(),
            "..".into(),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}.{}", parts[0], other_body, parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{symmetric}.{}.{}", parts[1], parts[2]),
            format!("{token}."),
            format!("{token}.{}", parts[2]),
            format!("{token}AA"),
        ] {
            assert_eq!(open(&keys, &bad), None, "{bad}");
        }
        // Of a user of another identity provider, whom we would take for one of ours.
        let federated = body.replacen('{', r#"{"openstack_idp_id":"x","#, 1);
        let signed = format!("{}.{}", parts[0], encode(&federated));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
        assert_eq!(open(&keys, &format!("{signed}.{signature}")), None);
    }
}
