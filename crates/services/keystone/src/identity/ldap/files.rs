//! Options of single domains in files (`[identity] domain_config_dir`), in the form that Keystone's have: one that is named
//! `keystone.DOMAIN.conf` is about the domain of that name. They are read when keystone starts.

use super::LdapConf;
use crate::config::{IdentityConf, IdentityDriver};
use crate::db::Extra;
use base::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What the files say, by the domain's name.
pub(crate) type DomainFiles = BTreeMap<String, DomainFile>;

/// What one says.
pub(crate) struct DomainFile {
    pub driver: IdentityDriver,
    pub ldap: LdapConf,
}

/// Reads all files, if domains have their options there. What is wrong with one is said at once, not at its users' logins.
pub(crate) async fn read(conf: &IdentityConf, common: &LdapConf) -> Result<DomainFiles> {
    let mut files = DomainFiles::new();
    if !conf.domain_specific_drivers_enabled || conf.domain_configurations_from_database {
        return Ok(files);
    }
    let folder = &conf.domain_config_dir;
    let mut entries = match tokio::fs::read_dir(folder).await {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "[identity] domain_config_dir can not be read: no domain has options of its own");
            return Ok(files);
        }
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let name = name.to_str().and_then(|n| n.strip_prefix("keystone."));
        let Some(domain) = name.and_then(|n| n.strip_suffix(".conf")) else {
            continue;
        };
        let path = entry.path();
        let text = tokio::fs::read_to_string(&path).await;
        let text = text.map_err(|e| wrong(&path, e))?;
        let file = parse(&text, conf.driver, common).map_err(|e| wrong(&path, e))?;
        files.insert(domain.to_string(), file);
    }
    Ok(files)
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("{}: {error}", path.display()))
}

fn parse(text: &str, driver: IdentityDriver, common: &LdapConf) -> Result<DomainFile> {
    let mut sections = sections(text)?;
    let named = sections.remove("identity").unwrap_or_default();
    let driver = match named.get("driver").and_then(|driver| driver.as_str()) {
        None => driver,
        Some(named) => IdentityDriver::parse(named)?,
    };
    let ldap = common.with(&sections.remove("ldap").unwrap_or_default())?;
    Ok(DomainFile { driver, ldap })
}

/// oslo.config's form: `[section]`, `name = value`, comments, and lines that begin with a blank, which go on with the value
/// above. Lines are never quoted: some hold passwords.
fn sections(text: &str) -> Result<BTreeMap<String, Extra>> {
    let mut sections: BTreeMap<String, Extra> = BTreeMap::new();
    let mut section: Option<String> = None;
    let mut last: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let bad = |why: &str| Error::bad_request(format!("line {}: {why}", number + 1));
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            last = last.filter(|_| !trimmed.is_empty());
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| bad("no ]"))?;
            section = Some(name.trim().to_ascii_lowercase());
            last = None;
            continue;
        }
        let section = section.as_ref().ok_or_else(|| bad("no section"))?;
        let options = sections.entry(section.clone()).or_default();
        if line.starts_with([' ', '\t']) {
            let value = last.as_ref().and_then(|name| options.get_mut(name));
            let value = value.ok_or_else(|| bad("it goes on with nothing"))?;
            *value = format!("{} {trimmed}", value.as_str().unwrap_or_default()).into();
            continue;
        }
        let (name, value) = trimmed.split_once('=').ok_or_else(|| bad("no ="))?;
        let name = name.trim().to_string();
        options.insert(name.clone(), value.trim().into());
        last = Some(name);
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_over_the_common_options() {
        let common = LdapConf {
            suffix: "dc=common".into(),
            ..LdapConf::default()
        };
        let text = "# comment\n[identity]\ndriver = ldap\n\n[ldap]\n; another\nurl = ldap://here\nuser=cn=reader,dc=x\npassword = a=b # c\nuse_tls = True\npage_size = 7\nuser_additional_attribute_mapping = title:rank,\n  l:city\n";
        let file = parse(text, IdentityDriver::Sql, &common).unwrap();
        assert_eq!(file.driver, IdentityDriver::Ldap);
        assert_eq!(file.ldap.url, "ldap://here");
        assert_eq!(file.ldap.user.as_deref(), Some("cn=reader,dc=x"));
        assert_eq!(file.ldap.password.expose(), "a=b # c");
        assert_eq!((file.ldap.use_tls, file.ldap.page_size), (true, 7));
        assert_eq!(file.ldap.suffix, "dc=common");
        let mapping = file.ldap.user_additional_attribute_mapping;
        assert_eq!(mapping, ["title:rank", "l:city"]);
        let none = parse("", IdentityDriver::Sql, &common).unwrap();
        assert_eq!(none.driver, IdentityDriver::Sql);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_line() {
        for text in [
            "password = secret",
            "[ldap\npassword = secret",
            "[ldap]\nsecret",
            "[ldap]\n  secret",
            "[ldap]\n\npage_size = secret",
            "[identity]\ndriver = none",
        ] {
            let parsed = parse(text, IdentityDriver::Sql, &LdapConf::default());
            let words = parsed.err().unwrap().to_string();
            assert!(!words.contains("secret"), "{words}");
        }
    }
}
