//! `[ldap]`: upstream's options for reading a directory, and how those of a single domain go over the common ones.

use crate::db::Extra;
use base::{Error, Result, Secret};
use oslo_config::Config;
use serde_json::Value;
use std::path::PathBuf;

base::str_enum! {
    /// How deep to look.
    pub enum QueryScope {
        /// Right below the base.
        One = "one",
        /// The base and all below it.
        Sub = "sub",
    }
}
oslo_config::choice!(QueryScope);

base::str_enum! {
    /// When aliases are followed.
    pub enum AliasDereferencing {
        /// As `never`: there is no `ldap.conf` here that says otherwise.
        Default = "default",
        /// Not at all.
        Never = "never",
        /// When looking for entries, not for the base.
        Searching = "searching",
        /// When looking for the base only.
        Finding = "finding",
        /// In both.
        Always = "always",
    }
}
oslo_config::choice!(AliasDereferencing);

base::str_enum! {
    /// What is asked of the server's certificate.
    pub enum TlsReqCert {
        /// It must be good.
        Demand = "demand",
        /// As `demand`: a certificate that is looked at and not minded protects nobody.
        Allow = "allow",
        /// Any will do.
        Never = "never",
    }
}
oslo_config::choice!(TlsReqCert);

oslo_config::section! {
    /// Users and groups of an LDAP directory, where `[identity] driver` or a domain's configuration says `ldap`. Read only.
    pub struct LdapConf in "ldap" {
        /// The server: `ldap://host[:port]` or `ldaps://…`; several with commas between, of which the first that answers is
        /// taken.
        pub url: String = "ldap://localhost".to_string(),
        /// The DN to look things up as; anonymous if not set.
        pub user: Option<String> = None,
        /// Its password.
        pub password: Secret = Secret::default(),
        /// Where users and groups are, unless `user_tree_dn` or `group_tree_dn` says otherwise.
        pub suffix: String = "cn=example,cn=com".to_string(),
        /// How deep to look below those.
        pub query_scope: QueryScope = QueryScope::One,
        /// Asks for lists in pages of so many entries; all at once if 0.
        pub page_size: u32 = 0,
        /// When aliases are followed.
        pub alias_dereferencing: AliasDereferencing = AliasDereferencing::Default,
        /// Where users are.
        pub user_tree_dn: Option<String> = None,
        /// A filter that users must match, in parentheses.
        pub user_filter: Option<String> = None,
        /// What users are.
        pub user_objectclass: String = "inetOrgPerson".to_string(),
        /// Whose value is a user's id.
        pub user_id_attribute: String = "cn".to_string(),
        /// Whose value is a user's name.
        pub user_name_attribute: String = "sn".to_string(),
        /// Whose value is a user's description.
        pub user_description_attribute: String = "description".to_string(),
        /// Whose value is a user's e-mail address.
        pub user_mail_attribute: String = "mail".to_string(),
        /// Whose value says whether a user is enabled. A value that is no boolean counts as disabled.
        pub user_enabled_attribute: String = "enabled".to_string(),
        /// Whether that attribute locks accounts rather than enabling them; without effect beside a mask or emulation.
        pub user_enabled_invert: bool = false,
        /// The bit of that attribute that disables a user (2 for `userAccountControl`); 0 if it is no number.
        pub user_enabled_mask: i64 = 0,
        /// What counts for a user without that attribute.
        pub user_enabled_default: String = "True".to_string(),
        /// Whose value is the id of a user's default project.
        pub user_default_project_id_attribute: Option<String> = None,
        /// Whether users are enabled by being members of a group.
        pub user_enabled_emulation: bool = false,
        /// That group; `cn=enabled_users` where users are, if not set.
        pub user_enabled_emulation_dn: Option<String> = None,
        /// Whether `group_member_attribute` and `group_members_are_ids` apply to that group too.
        pub user_enabled_emulation_use_group_config: bool = false,
        /// More attributes to show, each as `ldap_attribute:user_attribute`.
        pub user_additional_attribute_mapping: Vec<String> = vec![],
        /// Where groups are.
        pub group_tree_dn: Option<String> = None,
        /// A filter that groups must match, in parentheses.
        pub group_filter: Option<String> = None,
        /// What groups are.
        pub group_objectclass: String = "groupOfNames".to_string(),
        /// Whose value is a group's id.
        pub group_id_attribute: String = "cn".to_string(),
        /// Whose value is a group's name.
        pub group_name_attribute: String = "ou".to_string(),
        /// Whose values are the members.
        pub group_member_attribute: String = "member".to_string(),
        /// Whether those are users' ids rather than DNs, as in `posixGroup`.
        pub group_members_are_ids: bool = false,
        /// Whose value is a group's description.
        pub group_desc_attribute: String = "description".to_string(),
        /// More attributes to show, each as `ldap_attribute:group_attribute`.
        pub group_additional_attribute_mapping: Vec<String> = vec![],
        /// Whether a group's members are those of groups within it too, as Active Directory finds them.
        pub group_ad_nesting: bool = false,
        /// Certificates (PEM) of those who may vouch for the server; otherwise those that the machine trusts.
        pub tls_cacertfile: Option<PathBuf> = None,
        /// Whether connections to `ldap://` change to TLS before anything is said.
        pub use_tls: bool = false,
        /// What is asked of the server's certificate.
        pub tls_req_cert: TlsReqCert = TlsReqCert::Demand,
        /// Whether connections for looking things up are kept.
        pub use_pool: bool = true,
        /// How many there may be at once.
        pub pool_size: u32 = 10,
        /// How often a connection that failed is tried again.
        pub pool_retry_max: u32 = 3,
        /// The seconds between.
        pub pool_retry_delay: f64 = 0.1,
        /// How long connecting and each question may take, in seconds; 30 if -1.
        pub pool_connection_timeout: i64 = -1,
        /// How long a connection is kept, in seconds.
        pub pool_connection_lifetime: u64 = 600,
        /// Whether connections are kept on which users proved who they are.
        pub use_auth_pool: bool = true,
        /// How many there may be at once.
        pub auth_pool_size: u32 = 100,
        /// How long such a connection is kept, in seconds.
        pub auth_pool_connection_lifetime: u64 = 60,
    }
}

/// Those of `over` that were given, the rest from `base`.
macro_rules! merged {
    ($base:expr, $over:expr, $given:expr, $($field:ident)*) => {
        LdapConf {
            $($field: match $given.contains(&stringify!($field)) {
                true => $over.$field,
                false => $base.$field.clone(),
            },)*
        }
    };
}

impl LdapConf {
    /// These options with a domain's own over them. Upstream's that mean nothing here are let pass.
    pub(crate) fn with(&self, domain: &Extra) -> Result<LdapConf> {
        let known = <LdapConf as oslo_config::Section>::options();
        let known = |name: &str| known.iter().any(|option| option.name == name);
        let given: Vec<&str> = domain
            .iter()
            .filter(|(name, value)| known(name) && !value.is_null())
            .map(|(name, _)| name.as_str())
            .collect();
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let items = items.iter().map(|i| i.as_str().unwrap_or_default());
                items.collect::<Vec<_>>().join(",")
            }
            // Python's way of writing them is what operators know.
            other => other.to_string(),
        };
        let variables = given.iter().map(|name| {
            let text = text(&domain[*name]);
            let text = match text.as_str() {
                "True" if !is_text(name) => "true".to_string(),
                "False" if !is_text(name) => "false".to_string(),
                _ => text,
            };
            (format!("FERROSTACK_LDAP__{name}"), text)
        });
        let over: LdapConf = Config::parse("", variables)
            .and_then(|config| config.section())
            .map_err(|e| Error::bad_request(format!("a domain's configuration: {e}")))?;
        Ok(merged!(
            self, over, given,
            url user password suffix query_scope page_size alias_dereferencing
            user_tree_dn user_filter user_objectclass user_id_attribute user_name_attribute
            user_description_attribute user_mail_attribute user_enabled_attribute user_enabled_invert
            user_enabled_mask user_enabled_default user_default_project_id_attribute user_enabled_emulation
            user_enabled_emulation_dn user_enabled_emulation_use_group_config user_additional_attribute_mapping
            group_tree_dn group_filter group_objectclass group_id_attribute group_name_attribute
            group_member_attribute group_members_are_ids group_desc_attribute group_additional_attribute_mapping
            group_ad_nesting tls_cacertfile use_tls tls_req_cert
            use_pool pool_size pool_retry_max pool_retry_delay pool_connection_timeout pool_connection_lifetime
            use_auth_pool auth_pool_size auth_pool_connection_lifetime
        ))
    }

    pub(crate) fn users_base(&self) -> &str {
        self.user_tree_dn.as_deref().unwrap_or(&self.suffix)
    }

    pub(crate) fn groups_base(&self) -> &str {
        self.group_tree_dn.as_deref().unwrap_or(&self.suffix)
    }
}

fn is_text(option: &str) -> bool {
    option == "user_enabled_default"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_domains_options_go_over_the_common_ones() {
        let common = LdapConf {
            suffix: "dc=common".into(),
            user: Some("cn=reader".into()),
            use_tls: true,
            ..LdapConf::default()
        };
        let Value::Object(domain) = json!({
            "url": "ldap://here", "use_tls": "False", "query_scope": "sub", "page_size": 50,
            "user_enabled_default": "False", "password": "a,b", "user_additional_attribute_mapping": ["a:b", "c:d"],
            "user_filter": null, "debug_level": 3,
        }) else {
            panic!()
        };
        let both = common.with(&domain).unwrap();
        assert_eq!(
            (both.url.as_str(), both.suffix.as_str()),
            ("ldap://here", "dc=common")
        );
        assert_eq!(both.user.as_deref(), Some("cn=reader"));
        assert!(!both.use_tls);
        assert_eq!(both.query_scope, QueryScope::Sub);
        assert_eq!(both.page_size, 50);
        assert_eq!(both.user_enabled_default, "False");
        assert_eq!(both.password.expose(), "a,b");
        assert_eq!(both.user_additional_attribute_mapping, ["a:b", "c:d"]);
        assert_eq!(both.users_base(), "dc=common");

        let Value::Object(wrong) = json!({"page_size": "many"}) else {
            panic!()
        };
        let words = common.with(&wrong).unwrap_err().to_string();
        assert!(words.contains("page_size"), "{words}");
    }
}
