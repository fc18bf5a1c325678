//! What an entry of a directory means here.

use super::options::LdapConf;
use crate::db::Extra;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// An entry as the server sent it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub dn: String,
    /// By name in small letters.
    pub attributes: HashMap<String, Vec<String>>,
}

/// A user of a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LdapUser {
    pub dn: String,
    pub id: String,
    pub name: String,
    pub enabled: bool,
    pub default_project_id: Option<String>,
    /// Description, e-mail address and what the operator wants to see.
    pub extra: Extra,
}

/// A group of a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LdapGroup {
    pub dn: String,
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    /// DNs or ids of users, as the server has them.
    pub members: Vec<String>,
    pub extra: Extra,
}

impl Entry {
    fn values(&self, attribute: &str) -> &[String] {
        let found = self.attributes.get(&attribute.to_ascii_lowercase());
        found.map_or(&[], Vec::as_slice)
    }

    fn first(&self, attribute: &str) -> Option<&str> {
        let found = self.values(attribute).first().map(String::as_str);
        found.filter(|value| !value.is_empty())
    }

    /// Whose id it is: of an attribute with several values none says so, and its DN does, if it is made of one.
    fn id(&self, attribute: &str) -> Option<String> {
        match self.values(attribute) {
            [id] if !id.is_empty() => Some(id.clone()),
            _ => rdn(&self.dn, attribute),
        }
    }

    fn mapped(&self, mapping: &[String], extra: &mut Extra) {
        for pair in mapping {
            if let Some((theirs, ours)) = pair.split_once(':')
                && let Some(value) = self.first(theirs.trim())
            {
                extra.insert(ours.trim().to_string(), Value::from(value));
            }
        }
    }
}

/// The value of the first part of a DN, if it is of that attribute.
fn rdn(dn: &str, attribute: &str) -> Option<String> {
    let (name, rest) = dn.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case(attribute) {
        return None;
    }
    let mut value = String::new();
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // Escapes by number are rare enough in ids; such an entry has none.
            '\\' => match letters.next()? {
                digit if digit.is_ascii_hexdigit() => return None,
                escaped => value.push(escaped),
            },
            ',' | '+' => break,
            plain => value.push(plain),
        }
    }
    Some(value.trim().to_string()).filter(|v| !v.is_empty())
}

/// A DN as it compares: without regard to letters' case, and to space around its signs.
pub(crate) fn normalized(dn: &str) -> String {
    let parts = dn.split(',').map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        format!("{}={}", name.trim(), value.trim())
    });
    parts.collect::<Vec<_>>().join(",").to_lowercase()
}

fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Whether the directory says that the user may be here. What it says is text: `FALSE` is not a yes for not being empty
/// (OSSA-2026-007). What nobody understands is a no.
fn enabled(conf: &LdapConf, entry: &Entry, in_group: Option<&HashSet<String>>) -> bool {
    if conf.user_enabled_emulation {
        return in_group.is_some_and(|group| {
            let id = entry.id(&conf.user_id_attribute).unwrap_or_default();
            group.contains(&normalized(&entry.dn)) || group.contains(&id)
        });
    }
    let given = entry.first(&conf.user_enabled_attribute);
    let text = given.unwrap_or(&conf.user_enabled_default);
    if conf.user_enabled_mask != 0 {
        let flags = text.trim().parse::<i64>().ok();
        return flags.is_some_and(|flags| flags & conf.user_enabled_mask == 0);
    }
    match boolean(text) {
        Some(value) => value != conf.user_enabled_invert,
        None => false,
    }
}

/// `None` for an entry without id or name. `in_group` holds who is enabled, where a group says so.
pub(crate) fn user(
    conf: &LdapConf,
    entry: &Entry,
    in_group: Option<&HashSet<String>>,
) -> Option<LdapUser> {
    let mut extra = Extra::new();
    for (name, attribute) in [
        ("description", &conf.user_description_attribute),
        ("email", &conf.user_mail_attribute),
    ] {
        if let Some(value) = entry.first(attribute) {
            extra.insert(name.to_string(), Value::from(value));
        }
    }
    entry.mapped(&conf.user_additional_attribute_mapping, &mut extra);
    let project = conf.user_default_project_id_attribute.as_deref();
    Some(LdapUser {
        dn: entry.dn.clone(),
        id: entry.id(&conf.user_id_attribute)?,
        name: entry.first(&conf.user_name_attribute)?.to_string(),
        enabled: enabled(conf, entry, in_group),
        default_project_id: project.and_then(|p| entry.first(p)).map(str::to_string),
        extra,
    })
}

/// `None` for an entry without id or name.
pub(crate) fn group(conf: &LdapConf, entry: &Entry) -> Option<LdapGroup> {
    let mut extra = Extra::new();
    entry.mapped(&conf.group_additional_attribute_mapping, &mut extra);
    Some(LdapGroup {
        dn: entry.dn.clone(),
        id: entry.id(&conf.group_id_attribute)?,
        name: entry.first(&conf.group_name_attribute)?.to_string(),
        description: entry.first(&conf.group_desc_attribute).map(str::to_string),
        members: entry.values(&conf.group_member_attribute).to_vec(),
        extra,
    })
}

/// A filter for entries of a kind: `(&(objectClass=…)<the operator's><ours>)`.
pub(crate) fn filter(objectclass: &str, operators: Option<&str>, ours: &str) -> String {
    let operators = operators.unwrap_or_default();
    format!("(&(objectClass={}){operators}{ours})", escaped(objectclass))
}

/// `(attribute=value)`, whatever is in the value.
pub(crate) fn equals(attribute: &str, value: &str) -> String {
    format!("({attribute}={})", escaped(value))
}

/// RFC 4515: nothing in a value is taken for syntax.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '*' => out.push_str("\\2a"),
            '(' => out.push_str("\\28"),
            ')' => out.push_str("\\29"),
            '\\' => out.push_str("\\5c"),
            '\0' => out.push_str("\\00"),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dn: &str, pairs: &[(&str, &str)]) -> Entry {
        let mut entry = Entry {
            dn: dn.into(),
            ..Entry::default()
        };
        for (name, value) in pairs {
            let values = entry.attributes.entry(name.to_string()).or_default();
            values.push(value.to_string());
        }
        entry
    }

    #[test]
    fn who_is_enabled() {
        let plain = LdapConf::default();
        let lock = LdapConf {
            user_enabled_attribute: "nsAccountLock".into(),
            user_enabled_invert: true,
            user_enabled_default: "False".into(),
            ..LdapConf::default()
        };
        let mask = LdapConf {
            user_enabled_attribute: "userAccountControl".into(),
            user_enabled_mask: 2,
            user_enabled_default: "512".into(),
            ..LdapConf::default()
        };
        let never = LdapConf {
            user_enabled_default: "False".into(),
            ..LdapConf::default()
        };
        for (conf, pairs, expected) in [
            (&plain, vec![], true),
            (&plain, vec![("enabled", "TRUE")], true),
            (&plain, vec![("enabled", "true")], true),
            (&plain, vec![("enabled", "FALSE")], false),
            (&plain, vec![("enabled", "False")], false),
            (&plain, vec![("enabled", "0")], false),
            (&plain, vec![("enabled", "perhaps")], false),
            (&never, vec![], false),
            (&never, vec![("enabled", "TRUE")], true),
            (&lock, vec![], true),
            (&lock, vec![("nsaccountlock", "TRUE")], false),
            (&lock, vec![("nsaccountlock", "false")], true),
            (&lock, vec![("nsaccountlock", "perhaps")], false),
            (&mask, vec![], true),
            (&mask, vec![("useraccountcontrol", "512")], true),
            (&mask, vec![("useraccountcontrol", "514")], false),
            (&mask, vec![("useraccountcontrol", "x")], false),
        ] {
            assert_eq!(
                enabled(conf, &entry("cn=a", &pairs), None),
                expected,
                "{pairs:?}"
            );
        }
        let group = LdapConf {
            user_enabled_emulation: true,
            ..LdapConf::default()
        };
        let members = HashSet::from([normalized("CN=a, dc=x")]);
        let (a, b) = (entry("cn=A,dc=x", &[]), entry("cn=b,dc=x", &[]));
        assert!(enabled(&group, &a, Some(&members)));
        assert!(!enabled(&group, &b, Some(&members)));
        assert!(!enabled(&group, &a, None));
    }

    #[test]
    fn entries() {
        let conf = LdapConf {
            user_id_attribute: "uid".into(),
            user_name_attribute: "cn".into(),
            user_additional_attribute_mapping: vec!["title:rank".into(), "broken".into()],
            ..LdapConf::default()
        };
        let pairs = [
            ("uid", "ann"),
            ("cn", "Ann A"),
            ("mail", "a@x"),
            ("title", "captain"),
        ];
        let ann = user(&conf, &entry("uid=ann,dc=x", &pairs), None).unwrap();
        assert_eq!(
            (ann.id.as_str(), ann.name.as_str(), ann.enabled),
            ("ann", "Ann A", true)
        );
        assert_eq!(ann.extra["email"], "a@x");
        assert_eq!(ann.extra["rank"], "captain");
        // Two values are no id, but the DN is made of one.
        let two = entry(
            "uid=bob\\,b+cn=x,dc=x",
            &[("uid", "bob"), ("uid", "rob"), ("cn", "B")],
        );
        assert_eq!(user(&conf, &two, None).unwrap().id, "bob,b");
        for none in [
            entry("ou=x", &[("cn", "no id")]),
            entry("uid=x,dc=x", &[]),
            entry("uid=\\41,dc=x", &[("cn", "x")]),
            entry("uid=,dc=x", &[("cn", "x")]),
        ] {
            assert_eq!(user(&conf, &none, None), None);
        }
    }

    #[test]
    fn values_are_no_syntax() {
        assert_eq!(
            equals("cn", "a*)(uid=\\\0"),
            "(cn=a\\2a\\29\\28uid=\\5c\\00)"
        );
        assert_eq!(
            filter("person", Some("(x=1)"), &equals("cn", "ä")),
            "(&(objectClass=person)(x=1)(cn=ä))"
        );
        assert_eq!(filter("person", None, ""), "(&(objectClass=person))");
    }
}
