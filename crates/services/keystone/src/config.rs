//! Options, by upstream's sections and names.

pub use crate::identity::ldap::options::{AliasDereferencing, LdapConf, QueryScope, TlsReqCert};
use base::{Result, Secret};
use oslo_config::{Config, OptionDoc, Section};
use std::path::PathBuf;

oslo_config::section! {
    /// The identity service itself.
    pub struct KeystoneConf in "keystone" {
        /// The address that links and the version documents show; by default the one a request came to.
        pub public_endpoint: Option<String> = None,
        /// At most so many rows in a page of a list.
        pub max_db_limit: u64 = 1000,
        /// How deep projects may be nested, domain included.
        pub max_project_tree_depth: u64 = 5,
    }
}

base::str_enum! {
    /// What tokens are.
    pub enum TokenProvider {
        /// Encrypted: whoever makes tokens can read them, and nobody else.
        Fernet = "fernet",
        /// Signed: everybody can read them, and whoever has a public key can check them.
        Jws = "jws",
    }
}
oslo_config::choice!(TokenProvider);

oslo_config::section! {
    /// Tokens.
    pub struct TokenConf in "token" {
        /// What new tokens are. Those of the other kind stay good for as long as their keys are there.
        pub provider: TokenProvider = TokenProvider::Fernet,
        /// How long a token is valid, in seconds.
        pub expiration: u64 = 86_400,
        /// How long keystone remembers the meaning of a token, in seconds. Changes are seen at once in this process, and
        /// in others when the bus tells them, or a second later.
        pub cache_time: u64 = 300,
        /// How many tokens' meanings are remembered.
        pub cache_size: u64 = 20_000,
        /// Whether a scoped token may be exchanged for one of another scope.
        pub allow_rescope_scoped_token: bool = true,
        /// How long after its end a token is still shown to services that ask for `allow_expired`, in seconds.
        pub allow_expired_window: u64 = 172_800,
    }
}

oslo_config::section! {
    /// The keys that encrypt tokens.
    pub struct FernetConf in "fernet_tokens" {
        /// Directory of numbered key files: 0 is staged, the highest is primary. It must be the same for all
        /// keystones. If not set, keys are in keystone's database, sealed with the secret of the cloud.
        pub key_repository: Option<PathBuf> = None,
        /// How many keys are kept by a rotation.
        pub max_active_keys: u64 = 3,
    }
}

oslo_config::section! {
    /// The keys that sign tokens. If no directories are set, pairs are in keystone's database, sealed with the secret of the
    /// cloud, and rotate as those of Fernet do.
    pub struct JwtConf in "jwt_tokens" {
        /// Directory of the public keys (PEM) of all keystones: P-256, or RSA of at least 2048 bits. A new key must be here, at
        /// all keystones, before it signs.
        pub jws_public_key_repository: Option<PathBuf> = None,
        /// Directory of `private.pem`, with which this keystone signs: PKCS#8.
        pub jws_private_key_repository: Option<PathBuf> = None,
    }
}

oslo_config::section! {
    /// The keys that encrypt credentials at rest.
    pub struct CredentialConf in "credential" {
        /// Directory of numbered key files, the same for all processes over one database; by default
        /// `credential-keys` beside that of tokens, or in the database like those. Lost keys are lost credentials.
        pub key_repository: Option<PathBuf> = None,
        /// How many minutes a signed EC2 request is good for, if it says when it was signed.
        pub auth_ttl: u64 = 15,
    }
}

base::str_enum! {
    /// What makes a password unreadable.
    pub enum HashAlgorithm {
        /// Looks at the first 72 bytes of a password.
        Bcrypt = "bcrypt",
        /// bcrypt of a hash, so of all bytes.
        BcryptSha256 = "bcrypt_sha256",
        /// Takes memory too.
        Scrypt = "scrypt",
        /// What upstream took before.
        Pbkdf2Sha512 = "pbkdf2_sha512",
    }
}
oslo_config::choice!(HashAlgorithm);

base::str_enum! {
    /// Where users and groups are.
    pub enum IdentityDriver {
        /// In keystone's database.
        Sql = "sql",
        /// In an LDAP directory; those that the database has beside it, the cloud's own, stay.
        Ldap = "ldap",
    }
}
oslo_config::choice!(IdentityDriver);

oslo_config::section! {
    /// Users and their passwords.
    pub struct IdentityConf in "identity" {
        /// The domain of callers who name none.
        pub default_domain_id: String = "default".to_string(),
        /// Where users and groups of the default domain are: `ldap` is the directory of `[ldap]`.
        pub driver: IdentityDriver = IdentityDriver::Sql,
        /// Whether domains may have directories of their own.
        pub domain_specific_drivers_enabled: bool = false,
        /// Whether their options are in the database, by `PUT /v3/domains/{id}/config`, rather than in files.
        pub domain_configurations_from_database: bool = false,
        /// Where the files are, in Keystone's form: `keystone.DOMAIN.conf`, with `[identity] driver` and `[ldap]`.
        pub domain_config_dir: PathBuf = PathBuf::from("/etc/keystone/domains"),
        /// After so many seconds a directory is asked again whether its users are still there and enabled.
        pub cache_time: u64 = 600,
        /// How new passwords are hashed. Those that were hashed otherwise stay good.
        pub password_hash_algorithm: HashAlgorithm = HashAlgorithm::Bcrypt,
        /// The cost of it. bcrypt and bcrypt_sha256: 4 to 18, 12 if not set; scrypt: 1 to 18, 16 if not set; each step
        /// doubles the time, and scrypt's memory. pbkdf2_sha512: 60000 if not set.
        pub password_hash_rounds: Option<u32> = None,
        /// Random bytes in a hash of scrypt or pbkdf2_sha512: up to 96, 16 if not set.
        pub salt_bytesize: Option<u64> = None,
        /// scrypt's block size, 8 if not set.
        pub scrypt_block_size: Option<u32> = None,
        /// scrypt's parallelism, 1 if not set.
        pub scrypt_parallelism: Option<u32> = None,
        /// Longer passwords are refused; bytes.
        pub max_password_length: u64 = 4096,
        /// Passwords that are hashed at the same time.
        pub password_hash_workers: u64 = 4,
    }
}

oslo_config::section! {
    /// Secrets that stand for a user's roles on a project.
    pub struct AppCredConf in "application_credential" {
        /// How many a user may have; any number if negative.
        pub user_limit: i64 = -1,
    }
}

oslo_config::section! {
    /// Users who let others act for them.
    pub struct TrustConf in "trust" {
        /// How often a trust may be handed on at most.
        pub max_redelegation_count: i64 = 3,
    }
}

oslo_config::section! {
    /// What is asked of passwords and of those who have them; nothing, by default.
    pub struct ComplianceConf in "security_compliance" {
        /// After so many wrong passwords an account takes none for a while; never if not set.
        pub lockout_failure_attempts: Option<u64> = None,
        /// How long that is, in seconds; until an administrator enables the user again if 0.
        pub lockout_duration: u64 = 1800,
        /// After so many days without a login a user is disabled; never if not set.
        pub disable_user_account_days_inactive: Option<u64> = None,
        /// After so many days a password must be changed; never if not set.
        pub password_expires_days: Option<u64> = None,
        /// From so many last passwords a new one must differ; 0 is none.
        pub unique_last_password_count: u64 = 0,
        /// So many days must pass before a user changes a password again that they chose.
        pub minimum_password_age: u64 = 0,
        /// What a password must match from its beginning on; anything if not set.
        pub password_regex: Option<String> = None,
        /// What to tell those whose password does not match.
        pub password_regex_description: Option<String> = None,
        /// Whether users must change a password that an administrator chose before they can log in.
        pub change_password_upon_first_use: bool = false,
    }
}

oslo_config::section! {
    /// Logging in.
    pub struct AuthConf in "auth" {
        /// How users may prove who they are. `totp` is not among them unless it is put here: passcodes have six digits, so
        /// nobody should be let in for one alone (`multi_factor_auth_rules` of a user say what else is asked).
        pub methods: Vec<String> = ["password", "token", "application_credential", "oauth1", "mapped", "openid", "saml2"]
            .map(str::to_string).to_vec(),
    }
}

oslo_config::section! {
    /// Passcodes that change with time.
    pub struct TotpConf in "totp" {
        /// So many passcodes of the past, each of 30 seconds, are taken too.
        pub included_previous_windows: u64 = 1,
    }
}

oslo_config::section! {
    /// What callers get who have given some of the proofs that are asked of them.
    pub struct ReceiptConf in "receipt" {
        /// How long they have for the rest, in seconds.
        pub expiration: u64 = 300,
    }
}

base::str_enum! {
    /// How limits of projects and domains hang together.
    pub enum EnforcementModel {
        /// Each stands alone.
        Flat = "flat",
        /// A project has at most what its domain has.
        StrictTwoLevel = "strict_two_level",
    }
}
oslo_config::choice!(EnforcementModel);

oslo_config::section! {
    /// Limits that other services ask for.
    pub struct UnifiedLimitConf in "unified_limit" {
        /// `flat`: each limit stands alone. `strict_two_level`: no project may have more than its domain, and projects have
        /// no projects below them.
        pub enforcement_model: EnforcementModel = EnforcementModel::Flat,
    }
}

oslo_config::section! {
    /// Catalogs of projects that have endpoints of their own.
    pub struct EndpointFilterConf in "endpoint_filter" {
        /// Whether projects for which nobody named endpoints have all of them, or none.
        pub return_all_endpoints_if_no_filter: bool = true,
    }
}

oslo_config::section! {
    /// Users of other identity providers.
    pub struct FederationConf in "federation" {
        /// What a trusted front end sends in `X-Federation-Secret`, so that what else it sends of a user counts. Without it
        /// nobody's attributes are believed. The front end must take this header, and all that begin with
        /// `assertion_prefix`, away from what clients send.
        pub front_end_secret: Secret = Secret::default(),
        /// Only headers that begin with one of these are attributes of users (`OIDC-`, `MELLON-`); all if empty. Case and
        /// the difference of `-` and `_` do not matter, neither does a leading `HTTP_`.
        pub assertion_prefix: Vec<String> = vec![],
        /// The attribute in which an identity provider names itself, where its protocol does not say another.
        pub remote_id_attribute: Option<String> = None,
        /// How many minutes memberships in groups that a mapping gives hold beyond the token, if the identity provider does
        /// not say; 0 is not at all.
        pub default_authorization_ttl: u64 = 0,
        /// The version of mappings that name none: 1.0, 2.0 or 3.0.
        pub attribute_mapping_default_schema_version: String = "1.0".to_string(),
        /// The addresses (`https://dashboard/auth/websso/`) to which browsers may carry a token.
        pub trusted_dashboard: Vec<String> = vec![],
        /// The page that makes them do it, with `$host` and `$token`; one of our own if not set.
        pub sso_callback_template: Option<PathBuf> = None,
    }
}

oslo_config::section! {
    /// This cloud as an identity provider of others.
    pub struct SamlConf in "saml" {
        /// How long an assertion counts, in seconds.
        pub assertion_expiration_time: u64 = 3600,
        /// The certificate by which others know this cloud, PEM.
        pub certfile: Option<PathBuf> = None,
        /// Its RSA key, PEM.
        pub keyfile: Option<PathBuf> = None,
        /// The name of this cloud among identity providers, an address.
        pub idp_entity_id: Option<String> = None,
        /// Where others send users to log in.
        pub idp_sso_endpoint: Option<String> = None,
        /// The metadata that others are shown; made from the rest of this section if not set.
        pub idp_metadata_path: Option<PathBuf> = None,
        /// How the relay state of assertions begins, for service providers that say no other.
        pub relay_state_prefix: String = "ss:mem:".to_string(),
    }
}

oslo_config::section! {
    /// Programs that act for users by OAuth 1.0a.
    pub struct Oauth1Conf in "oauth1" {
        /// How many seconds a user has to agree; any time if 0.
        pub request_token_duration: u64 = 28_800,
        /// How many seconds a program may act then; without end if 0.
        pub access_token_duration: u64 = 86_400,
    }
}

oslo_config::section! {
    /// Programs that log in by OAuth 2.0.
    pub struct Oauth2Conf in "oauth2" {
        /// How they may prove who they are: `client_secret_basic` is by an application credential's secret, `tls_client_auth`
        /// by a certificate that the front end hands on in `SSL-Client-Cert`, beside `[federation] front_end_secret`.
        pub oauth2_authn_methods: Vec<String> = ["tls_client_auth", "client_secret_basic"].map(str::to_string).to_vec(),
        /// The mapping that says whose a certificate is.
        pub oauth2_cert_dn_mapping_id: String = "oauth2_mapping".to_string(),
    }
}

/// All sections of the identity service.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    /// `[keystone]`
    pub keystone: KeystoneConf,
    /// `[token]`
    pub token: TokenConf,
    /// `[fernet_tokens]`
    pub fernet_tokens: FernetConf,
    /// `[jwt_tokens]`
    pub jwt_tokens: JwtConf,
    /// `[credential]`
    pub credential: CredentialConf,
    /// `[identity]`
    pub identity: IdentityConf,
    /// `[ldap]`
    pub ldap: LdapConf,
    /// `[application_credential]`
    pub application_credential: AppCredConf,
    /// `[trust]`
    pub trust: TrustConf,
    /// `[security_compliance]`
    pub security_compliance: ComplianceConf,
    /// `[auth]`
    pub auth: AuthConf,
    /// `[totp]`
    pub totp: TotpConf,
    /// `[receipt]`
    pub receipt: ReceiptConf,
    /// `[unified_limit]`
    pub unified_limit: UnifiedLimitConf,
    /// `[endpoint_filter]`
    pub endpoint_filter: EndpointFilterConf,
    /// `[federation]`
    pub federation: FederationConf,
    /// `[saml]`
    pub saml: SamlConf,
    /// `[oauth1]`
    pub oauth1: Oauth1Conf,
    /// `[oauth2]`
    pub oauth2: Oauth2Conf,
}

impl Conf {
    /// Where the keys of credentials are.
    pub(crate) fn credential_repository(&self) -> Option<PathBuf> {
        self.credential.key_repository.clone().or_else(|| {
            let tokens = self.fernet_tokens.key_repository.as_ref()?;
            Some(tokens.with_file_name("credential-keys"))
        })
    }

    /// The options of all sections, for the generated reference.
    pub fn options() -> Vec<OptionDoc> {
        let sections = [
            KeystoneConf::options(),
            TokenConf::options(),
            FernetConf::options(),
            JwtConf::options(),
            CredentialConf::options(),
            IdentityConf::options(),
            LdapConf::options(),
            AppCredConf::options(),
            TrustConf::options(),
            ComplianceConf::options(),
            AuthConf::options(),
            TotpConf::options(),
            ReceiptConf::options(),
            UnifiedLimitConf::options(),
            EndpointFilterConf::options(),
            FederationConf::options(),
            SamlConf::options(),
            Oauth1Conf::options(),
            Oauth2Conf::options(),
        ];
        sections.concat()
    }

    /// Takes the sections out of the configuration.
    pub fn take(config: &Config) -> Result<Conf> {
        Ok(Conf {
            keystone: config.section()?,
            token: config.section()?,
            fernet_tokens: config.section()?,
            jwt_tokens: config.section()?,
            credential: config.section()?,
            identity: config.section()?,
            ldap: config.section()?,
            application_credential: config.section()?,
            trust: config.section()?,
            security_compliance: config.section()?,
            auth: config.section()?,
            totp: config.section()?,
            receipt: config.section()?,
            unified_limit: config.section()?,
            endpoint_filter: config.section()?,
            federation: config.section()?,
            saml: config.section()?,
            oauth1: config.section()?,
            oauth2: config.section()?,
        })
    }
}
