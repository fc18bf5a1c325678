//! Upstream's token payloads: `[version, user, methods, (scope,) expires, audit ids]`, ids as bytes where they are hex.
//!
//! A last element of our own, which upstream ignores, holds the microseconds of the issue, because Fernet's time
//! has whole seconds: without it a token made in the second of a password change would count as made before it.

use crate::token::Claims;
use crate::token::msgpack::Pack;
use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Unscoped,
    Project(String),
    Domain(String),
    System,
    /// What a trust delegates; the token's user is the trustee.
    Trust {
        id: String,
        project_id: Option<String>,
    },
    /// What an application credential of the user is for.
    AppCred {
        id: String,
        project_id: String,
    },
    /// What a user let a consumer do by OAuth 1.0a.
    Oauth {
        access_token_id: String,
        project_id: String,
    },
    /// Where a program is that showed a certificate, by which the token knows it again (RFC 8705).
    Certified {
        project_id: String,
        thumbprint: String,
    },
    /// Where somebody is for whom an identity provider vouches, with the groups that it put them in.
    Federated {
        via: Arc<Via>,
        place: Place,
    },
}

/// How somebody came from an identity provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Via {
    pub idp_id: String,
    pub protocol_id: String,
    pub group_ids: Vec<String>,
}

/// Where they went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Nowhere,
    Project(String),
    Domain(String),
}

impl Scope {
    /// The project of the scope.
    pub(crate) fn project_id(&self) -> Option<&str> {
        match self {
            Scope::Project(id)
            | Scope::AppCred { project_id: id, .. }
            | Scope::Oauth { project_id: id, .. }
            | Scope::Certified { project_id: id, .. }
            | Scope::Federated {
                place: Place::Project(id),
                ..
            } => Some(id),
            Scope::Trust { project_id, .. } => project_id.as_deref(),
            Scope::Unscoped | Scope::Domain(_) | Scope::System | Scope::Federated { .. } => None,
        }
    }

    /// Whether it is no place at all.
    pub(crate) fn is_unscoped(&self) -> bool {
        matches!(
            self,
            Scope::Unscoped
                | Scope::Federated {
                    place: Place::Nowhere,
                    ..
                }
        )
    }

    /// Who vouches, if somebody does.
    pub(crate) fn via(&self) -> Option<&Arc<Via>> {
        match self {
            Scope::Federated { via, .. } => Some(via),
            _ => None,
        }
    }

    /// The same place, vouched for. A trust and the system are places of their own.
    pub(crate) fn vouched(self, via: &Arc<Via>) -> Scope {
        let place = match self {
            Scope::Unscoped => Place::Nowhere,
            Scope::Project(id) => Place::Project(id),
            Scope::Domain(id) => Place::Domain(id),
            other => return other,
        };
        Scope::Federated {
            via: Arc::clone(via),
            place,
        }
    }

    /// Whether it is somebody's delegation, with less power than its user.
    pub(crate) fn is_delegated(&self) -> bool {
        matches!(
            self,
            Scope::Trust { .. }
                | Scope::AppCred { .. }
                | Scope::Oauth { .. }
                | Scope::Certified { .. }
        )
    }
}

/// The method of those who showed a certificate. Upstream gives it no bit; the payload says so by itself.
pub(crate) const BY_CERTIFICATE: &str = "oauth2_credential";

/// Upstream's bits, by the order of its `[auth] methods`, and `totp` where operators put it: behind those.
const METHODS: &[(&str, i64)] = &[
    ("external", 1),
    ("password", 2),
    ("token", 4),
    ("oauth1", 8),
    ("mapped", 16),
    ("application_credential", 32),
    ("totp", 64),
];
/// Those that this cloud takes for a proof.
const OFFERED: &[&str] = &[
    "password",
    "token",
    "oauth1",
    "application_credential",
    "totp",
];

/// The method of that name, if this cloud takes it.
pub(crate) fn method(name: &str) -> Option<&'static str> {
    OFFERED.iter().find(|n| **n == name).copied()
}

/// The method of that name that a token may speak of.
pub(crate) fn known_method(name: &str) -> Option<&'static str> {
    METHODS.iter().map(|(n, _)| *n).find(|n| *n == name)
}

/// The bits of methods; of those that upstream gives none there is nothing to say.
pub(crate) fn method_bits(methods: &[&'static str]) -> i64 {
    let known = METHODS.iter().filter(|(n, _)| methods.contains(n));
    known.map(|(_, bit)| bit).sum()
}

/// The methods behind bits.
pub(crate) fn methods_of(bits: i64) -> Vec<&'static str> {
    let set = METHODS.iter().filter(|(_, bit)| bits & bit != 0);
    set.map(|(n, _)| *n).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let plain = text.len() == 32
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !plain {
        return None;
    }
    (0..16)
        .map(|i| u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).ok())
        .collect()
}

/// `[true, bytes]` or `[false, text]`.
pub(crate) fn pack_id(id: &str) -> Pack {
    match unhex(id) {
        Some(bytes) => Pack::Array(vec![Pack::Bool(true), Pack::Bytes(bytes)]),
        None => Pack::Array(vec![Pack::Bool(false), Pack::Text(id.to_string())]),
    }
}

pub(crate) fn unpack_id(pack: &Pack) -> Option<String> {
    match pack {
        Pack::Array(pair) => match pair.as_slice() {
            [Pack::Bool(_), value] => unpack_id(value),
            _ => None,
        },
        Pack::Bytes(b) if b.len() == 16 => Some(hex(b)),
        Pack::Bytes(b) => String::from_utf8(b.clone()).ok(),
        Pack::Text(t) => Some(t.clone()),
        _ => None,
    }
}

fn pack_audit_id(id: &str) -> Pack {
    match URL_SAFE_NO_PAD.decode(id) {
        Ok(bytes) => Pack::Bytes(bytes),
        Err(_) => Pack::Text(id.to_string()),
    }
}

/// Ids of domains and trusts stand without the pair.
fn pack_domain(id: &str) -> Pack {
    unhex(id).map_or_else(|| Pack::Text(id.to_string()), Pack::Bytes)
}

/// `([scope,] groups, identity provider, protocol)`
fn pack_vouched(via: &Via, place: &Place) -> (i64, Vec<Pack>) {
    let (version, scope) = match place {
        Place::Nowhere => (4, None),
        Place::Project(id) => (5, Some(pack_id(id))),
        Place::Domain(id) => (6, Some(pack_id(id))),
    };
    let mut items: Vec<Pack> = scope.into_iter().collect();
    items.push(Pack::Array(
        via.group_ids.iter().map(|id| pack_id(id)).collect(),
    ));
    items.push(pack_id(&via.idp_id));
    items.push(Pack::Text(via.protocol_id.clone()));
    (version, items)
}

fn unpack_vouched(version: i64, items: &mut impl Iterator<Item = Pack>) -> Option<Scope> {
    let place = match version {
        5 => Place::Project(unpack_id(&items.next()?)?),
        6 => Place::Domain(unpack_id(&items.next()?)?),
        _ => Place::Nowhere,
    };
    let Some(Pack::Array(groups)) = items.next() else {
        return None;
    };
    let via = Via {
        group_ids: groups.iter().map(unpack_id).collect::<Option<_>>()?,
        idp_id: unpack_id(&items.next()?)?,
        protocol_id: unpack_id(&items.next()?)?,
    };
    Some(Scope::Federated {
        via: Arc::new(via),
        place,
    })
}

pub(crate) fn write(claims: &Claims) -> Vec<u8> {
    let methods = method_bits(&claims.methods);
    let (version, scope) = match &claims.scope {
        Scope::Unscoped => (0, vec![]),
        Scope::Domain(id) => (1, vec![pack_domain(id)]),
        Scope::Project(id) => (2, vec![pack_id(id)]),
        Scope::System => (8, vec![Pack::Text("all".into())]),
        Scope::Trust { project_id, .. } => {
            let none = Pack::Array(vec![Pack::Bool(false), Pack::Nil]);
            (3, vec![project_id.as_deref().map_or(none, pack_id)])
        }
        Scope::AppCred { project_id, .. } => (9, vec![pack_id(project_id)]),
        Scope::Oauth {
            access_token_id,
            project_id,
        } => (7, vec![pack_id(project_id), pack_id(access_token_id)]),
        Scope::Certified { project_id, .. } => {
            let no_domain = Pack::Array(vec![Pack::Bool(false), Pack::Nil]);
            (10, vec![pack_id(project_id), no_domain])
        }
        Scope::Federated { via, place } => pack_vouched(via, place),
    };
    let audit = claims.audit_ids.iter().map(|a| pack_audit_id(a));
    let delegation = match &claims.scope {
        Scope::Trust { id, .. } => Some(pack_domain(id)),
        Scope::AppCred { id, .. } => Some(pack_id(id)),
        Scope::Certified { thumbprint, .. } => Some(pack_id(thumbprint)),
        _ => None,
    };
    let mut items = vec![
        Pack::Int(version),
        pack_id(&claims.user_id),
        Pack::Int(methods),
    ];
    items.extend(scope);
    items.push(Pack::Float(claims.expires_at.0 as f64 / 1e6));
    items.push(Pack::Array(audit.collect()));
    items.extend(delegation);
    items.push(Pack::Int(claims.issued_at.0.rem_euclid(1_000_000)));
    let mut out = Vec::with_capacity(128);
    Pack::Array(items).write(&mut out);
    out
}

/// Reads a payload that was sealed at `seconds`.
pub(crate) fn read(mut bytes: &[u8], seconds: u64) -> Option<Claims> {
    let Some(Pack::Array(items)) = Pack::read(&mut bytes) else {
        return None;
    };
    let mut items = items.into_iter();
    let Some(Pack::Int(version)) = items.next() else {
        return None;
    };
    let user_id = unpack_id(&items.next()?)?;
    let Some(Pack::Int(methods)) = items.next() else {
        return None;
    };
    let mut whole = None;
    let place = match version {
        0 => None,
        1 | 2 | 3 | 8 | 9 => Some(items.next()?),
        10 => {
            let project = items.next()?;
            items.next()?;
            Some(project)
        }
        4..=6 => {
            whole = Some(unpack_vouched(version, &mut items)?);
            None
        }
        7 => {
            let project_id = unpack_id(&items.next()?)?;
            whole = Some(Scope::Oauth {
                access_token_id: unpack_id(&items.next()?)?,
                project_id,
            });
            None
        }
        _ => return None,
    };
    let expires = match items.next()? {
        Pack::Float(f) if f.is_finite() => f,
        Pack::Int(i) => i as f64,
        _ => return None,
    };
    let Some(Pack::Array(audit)) = items.next() else {
        return None;
    };
    let audit_ids = audit.into_iter().map(|a| match a {
        Pack::Bytes(b) => Some(URL_SAFE_NO_PAD.encode(b)),
        Pack::Text(t) => Some(t),
        _ => None,
    });
    let place_id = place.as_ref().and_then(unpack_id);
    let scope = match version {
        4..=7 => whole?,
        0 => Scope::Unscoped,
        1 => Scope::Domain(place_id?),
        2 => Scope::Project(place_id?),
        3 => Scope::Trust {
            id: unpack_id(&items.next()?)?,
            project_id: place_id,
        },
        9 => Scope::AppCred {
            id: unpack_id(&items.next()?)?,
            project_id: place_id?,
        },
        10 => Scope::Certified {
            thumbprint: unpack_id(&items.next()?)?,
            project_id: place_id?,
        },
        _ => Scope::System,
    };
    let methods = match version {
        10 => vec![BY_CERTIFICATE],
        _ => methods_of(methods),
    };
    let micros = match items.next() {
        Some(Pack::Int(i @ 0..1_000_000)) => i,
        _ => 0,
    };
    Some(Claims {
        user_id,
        methods,
        scope,
        issued_at: Timestamp(
            i64::try_from(seconds)
                .ok()?
                .checked_mul(1_000_000)?
                .checked_add(micros)?,
        ),
        expires_at: Timestamp((expires * 1e6).round() as i64),
        audit_ids: audit_ids.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vouched(groups: u32, place: Place) -> Scope {
        let via = Via {
            idp_id: "ACME".into(),
            protocol_id: "saml2".into(),
            group_ids: (0..groups).map(|n| format!("{n:032x}")).collect(),
        };
        Scope::Federated {
            via: Arc::new(via),
            place,
        }
    }

    #[test]
    fn every_scope_survives() {
        let id = "5b50efd009b540559104ee3c03bbb2b7".to_string();
        let scopes = [
            Scope::Unscoped,
            Scope::Project(id.clone()),
            Scope::Project("by-hand".into()),
            Scope::Domain("default".into()),
            Scope::Domain(id.clone()),
            Scope::System,
            Scope::Trust {
                id: id.clone(),
                project_id: Some(id.clone()),
            },
            Scope::Trust {
                id: id.clone(),
                project_id: None,
            },
            Scope::AppCred {
                id: id.clone(),
                project_id: "by-hand".into(),
            },
            Scope::Oauth {
                access_token_id: id.clone(),
                project_id: id.clone(),
            },
            vouched(0, Place::Nowhere),
            vouched(2, Place::Project(id.clone())),
            vouched(300, Place::Domain("default".into())),
        ];
        for scope in scopes {
            let claims = Claims {
                user_id: id.clone(),
                methods: vec!["password", "token", "application_credential", "totp"],
                scope,
                issued_at: Timestamp(1_767_323_045_000_006),
                expires_at: Timestamp(1_767_409_445_000_000),
                audit_ids: vec![crate::token::new_audit_id(), crate::token::new_audit_id()],
            };
            let bytes = write(&claims);
            assert_eq!(read(&bytes, 1_767_323_045), Some(claims));
            for cut in 0..bytes.len() - 6 {
                assert_eq!(read(&bytes[..cut], 0), None);
            }
        }
    }

    #[test]
    fn a_certificates_mark_survives() {
        let claims = Claims {
            user_id: "ann".into(),
            methods: vec![BY_CERTIFICATE],
            scope: Scope::Certified {
                project_id: "5b50efd009b540559104ee3c03bbb2b7".into(),
                thumbprint: "dMmoJKE9MIJK9VcyahYCb417JDhDfdtTiq_krco8-tk=".into(),
            },
            issued_at: Timestamp(1_767_323_045_000_006),
            expires_at: Timestamp(1_767_409_445_000_000),
            audit_ids: vec![crate::token::new_audit_id()],
        };
        let bytes = write(&claims);
        for cut in 0..bytes.len() - 6 {
            assert_eq!(read(&bytes[..cut], 0), None);
        }
        assert_eq!(read(&bytes, 1_767_323_045), Some(claims));
    }

    /// msgpack.packb((2, (True, bytes), 2, (True, bytes), 1447279211.0, [bytes])) as Python writes it.
    #[test]
    fn reads_upstreams() {
        let mut bytes = vec![0x96, 2, 0x92, 0xc3, 0xc4, 16];
        bytes.extend_from_slice(&[0x11; 16]);
        bytes.extend_from_slice(&[2, 0x92, 0xc3, 0xc4, 16]);
        bytes.extend_from_slice(&[0x22; 16]);
        bytes.push(0xcb);
        bytes.extend_from_slice(&1_447_279_211.0f64.to_be_bytes());
        bytes.extend_from_slice(&[0x91, 0xc4, 16]);
        bytes.extend_from_slice(&[0x33; 16]);
        let claims = read(&bytes, 1_447_192_811).unwrap();
        assert_eq!(claims.user_id, "11".repeat(16));
        assert_eq!(claims.scope, Scope::Project("22".repeat(16)));
        assert_eq!(claims.methods, ["password"]);
        assert_eq!(claims.expires_at, Timestamp::from_seconds(1_447_279_211));
        assert_eq!(claims.audit_ids.len(), 1);
    }

    /// The same with versions 4 to 7: groups, provider and protocol, or the access token, stand before the end.
    #[test]
    fn reads_upstreams_federation_and_oauth() {
        let id = |out: &mut Vec<u8>, byte: u8| {
            out.extend_from_slice(&[0x92, 0xc3, 0xc4, 16]);
            out.extend_from_slice(&[byte; 16]);
        };
        for version in 4..=7u8 {
            let mut bytes = vec![
                0x90 | if version == 5 || version == 6 { 8 } else { 7 },
                version,
            ];
            id(&mut bytes, 0x11);
            bytes.push(16);
            match version {
                7 => {
                    bytes[0] = 0x97;
                    id(&mut bytes, 0x22);
                    id(&mut bytes, 0x44);
                }
                _ => {
                    bytes[0] = if version == 4 { 0x98 } else { 0x99 };
                    if version != 4 {
                        id(&mut bytes, 0x22);
                    }
                    bytes.push(0x92);
                    id(&mut bytes, 0x55);
                    bytes.extend_from_slice(&[0x92, 0xc2, 0xa1, b'g']);
                    bytes.extend_from_slice(&[0x92, 0xc2, 0xa4]);
                    bytes.extend_from_slice(b"ACME");
                    bytes.push(0xa5);
                    bytes.extend_from_slice(b"saml2");
                }
            }
            bytes.push(0xcb);
            bytes.extend_from_slice(&1_447_279_211.0f64.to_be_bytes());
            bytes.extend_from_slice(&[0x91, 0xc4, 16]);
            bytes.extend_from_slice(&[0x33; 16]);
            let claims = read(&bytes, 1_447_192_811).unwrap();
            assert_eq!(claims.methods, ["mapped"]);
            let place = claims.scope.project_id() == Some("22".repeat(16).as_str());
            assert_eq!(place, version == 5 || version == 7, "{version}");
            if let Some(via) = claims.scope.via() {
                assert_eq!(via.group_ids, ["55".repeat(16), "g".into()]);
                assert_eq!(
                    (via.idp_id.as_str(), via.protocol_id.as_str()),
                    ("ACME", "saml2")
                );
            }
            bytes[0] += 1;
            bytes.push(0);
            assert_eq!(write(&claims), bytes, "{version}");
        }
    }

    /// The same with versions 3 and 9: what is delegated stands last.
    #[test]
    fn reads_upstreams_delegations() {
        let written = |version: u8, delegation: &[u8]| {
            let mut bytes = vec![0x97, version, 0x92, 0xc3, 0xc4, 16];
            bytes.extend_from_slice(&[0x11; 16]);
            bytes.extend_from_slice(&[32, 0x92, 0xc3, 0xc4, 16]);
            bytes.extend_from_slice(&[0x22; 16]);
            bytes.push(0xcb);
            bytes.extend_from_slice(&1_447_279_211.0f64.to_be_bytes());
            bytes.extend_from_slice(&[0x91, 0xc4, 16]);
            bytes.extend_from_slice(&[0x33; 16]);
            bytes.extend_from_slice(delegation);
            bytes.extend_from_slice(&[0x44; 16]);
            let claims = read(&bytes, 1_447_192_811).unwrap();
            // And what is written is the same, with an element of our own behind.
            bytes[0] += 1;
            bytes.push(0);
            assert_eq!(write(&claims), bytes);
            claims
        };
        let (project_id, id) = ("22".repeat(16), "44".repeat(16));
        let trust = written(3, &[0xc4, 16]);
        assert_eq!(
            trust.scope,
            Scope::Trust {
                id: id.clone(),
                project_id: Some(project_id.clone())
            }
        );
        let credential = written(9, &[0x92, 0xc3, 0xc4, 16]);
        assert_eq!(credential.scope, Scope::AppCred { id, project_id });
        assert_eq!(credential.methods, ["application_credential"]);
    }
}
