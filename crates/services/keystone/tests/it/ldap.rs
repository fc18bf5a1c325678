//! Users and groups of a directory: a real OpenLDAP, changed behind keystone's back.

use crate::cloud::{Answer, Cloud, by_id, conf};
use keystone::Conf;
use keystone::config::IdentityDriver;
use ldap3::{LdapConnAsync, Mod};
use oslo_testing::ldap::{ADMIN, ADMIN_PASSWORD, Slapd, Special};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const ENTRIES: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=reader,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-secret

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=a1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: a1
cn: ann
sn: A
mail: ann@example.org
employeeType: TRUE
title: captain
userPassword: ann-secret

dn: uid=b1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: b1
cn: bob
sn: B
employeeType: FALSE
userPassword: bob-secret

dn: uid=c1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: c1
cn: carol (night shift)
sn: C
userPassword: carol-secret

dn: cn=g1,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: g1
ou: operators
description: who operates
member: uid=a1,ou=people,dc=example,dc=org
member: uid=c1,ou=people,dc=example,dc=org
";

const ANN: &str = "uid=a1,ou=people,dc=example,dc=org";
const CAROL: &str = "uid=c1,ou=people,dc=example,dc=org";
const OPERATORS: &str = "cn=g1,ou=groups,dc=example,dc=org";

/// The options of the directory, as an operator writes them.
fn options(server: &Slapd) -> Value {
    json!({
        "url": server.url(), "user": "cn=reader,dc=example,dc=org", "password": "reader-secret",
        "suffix": "dc=example,dc=org", "user_tree_dn": "ou=people,dc=example,dc=org",
        "group_tree_dn": "ou=groups,dc=example,dc=org", "user_id_attribute": "uid", "user_name_attribute": "cn",
        "user_enabled_attribute": "employeeType", "user_additional_attribute_mapping": ["title:rank"],
    })
}

/// The default domain's users are in the directory.
fn common(server: &Slapd) -> Conf {
    let mut conf = conf();
    conf.identity.driver = IdentityDriver::Ldap;
    conf.ldap.url = server.url();
    conf.ldap.user = Some("cn=reader,dc=example,dc=org".into());
    conf.ldap.password = "reader-secret".into();
    conf.ldap.user_tree_dn = Some("ou=people,dc=example,dc=org".into());
    conf.ldap.group_tree_dn = Some("ou=groups,dc=example,dc=org".into());
    conf.ldap.user_id_attribute = "uid".into();
    conf.ldap.user_name_attribute = "cn".into();
    conf.ldap.user_enabled_attribute = "employeeType".into();
    conf
}

/// Changes an entry as somebody else would.
async fn modify(server: &Slapd, dn: &str, change: Mod<&str>) {
    let (connection, mut ldap) = LdapConnAsync::new(&server.url()).await.unwrap();
    tokio::spawn(connection.drive());
    let bound = ldap.simple_bind(ADMIN, ADMIN_PASSWORD).await.unwrap();
    bound.success().unwrap();
    ldap.modify(dn, vec![change])
        .await
        .unwrap()
        .success()
        .unwrap();
    ldap.unbind().await.unwrap();
}

async fn remove(server: &Slapd, dn: &str) {
    let (connection, mut ldap) = LdapConnAsync::new(&server.url()).await.unwrap();
    tokio::spawn(connection.drive());
    let bound = ldap.simple_bind(ADMIN, ADMIN_PASSWORD).await.unwrap();
    bound.success().unwrap();
    ldap.delete(dn).await.unwrap().success().unwrap();
    ldap.unbind().await.unwrap();
}

fn set_to<'v>(attribute: &'v str, value: &'v str) -> Mod<&'v str> {
    Mod::Replace(attribute, HashSet::from([value]))
}

fn in_domain(name: &str, domain: &str, password: &str) -> Value {
    json!({"methods": ["password"], "password": {"user": {"name": name, "domain": {"id": domain}, "password": password}}})
}

fn role_names(answer: &Answer) -> Vec<&str> {
    let roles = answer.body["token"]["roles"].as_array().unwrap();
    roles.iter().map(|r| r["name"].as_str().unwrap()).collect()
}

/// Until the token is over: what notices is a look of its own, which nobody waits for.
async fn until_over(cloud: &Cloud, admin: &str, token: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while cloud.check_as(admin, token).await.status == 200 {
        assert!(Instant::now() < deadline, "the token stays good");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_domain_of_its_own_directory() {
    let server = Slapd::start(ENTRIES).await.unwrap();
    let mut conf = conf();
    conf.identity.domain_specific_drivers_enabled = true;
    conf.identity.domain_configurations_from_database = true;
    let cloud = Cloud::with(conf).await;
    let admin = cloud.admin().await;
    let corp = json!({"name": "corp"});
    let corp = cloud.make(&admin, "/v3/domains", "domain", corp).await;
    let body = json!({"config": {"identity": {"driver": "ldap"}, "ldap": options(&server)}});
    let path = format!("/v3/domains/{corp}/config");
    cloud.call(&admin, "PUT", &path, body).await.expect(201);

    // Lists and lookups ask the directory; ids are upstream's hashes.
    let list = format!("/v3/users?domain_id={corp}");
    let users = cloud.get(&admin, &list).await.expect(200);
    let mut names = users.column("users", "name");
    names.sort();
    assert_eq!(names, ["ann", "bob", "carol (night shift)"]);
    let ann = cloud
        .get(&admin, &format!("{list}&name=ann"))
        .await
        .expect(200);
    let ann = ann.body["users"][0].clone();
    assert_eq!(
        (&ann["email"], &ann["rank"]),
        (&json!("ann@example.org"), &json!("captain"))
    );
    assert_eq!(ann["enabled"], true);
    let ann = ann["id"].as_str().unwrap().to_string();
    let hashed = format!("{corp}usera1");
    assert_eq!(ann, sha256(&hashed));
    let bob = cloud
        .get(&admin, &format!("{list}&name=bob"))
        .await
        .expect(200);
    assert_eq!(bob.body["users"][0]["enabled"], false);
    let groups = format!("/v3/groups?domain_id={corp}");
    let groups = cloud.get(&admin, &groups).await.expect(200);
    assert_eq!(groups.column("groups", "name"), ["operators"]);
    let group = groups.column("groups", "id").remove(0);
    let members = cloud
        .get(&admin, &format!("/v3/groups/{group}/users"))
        .await
        .expect(200);
    assert_eq!(members.column("users", "name").len(), 2);

    // Nobody has anything here until somebody gives it to them.
    let project = cloud.project(&admin, "p", &corp).await;
    let (place, scope) = (
        format!("projects/{project}"),
        json!({"project": {"id": project}}),
    );
    let proof = in_domain("ann", &corp, "ann-secret");
    cloud.auth(proof.clone(), scope.clone()).await.expect(401);
    cloud
        .grant(&admin, &place, &format!("users/{ann}"), "member")
        .await;
    cloud
        .grant(&admin, &place, &format!("groups/{group}"), "audit")
        .await;
    let token = cloud.auth(proof.clone(), scope.clone()).await.expect(201);
    assert_eq!(token.body["token"]["user"]["domain"]["id"], json!(corp));
    assert!(role_names(&token).contains(&"member") && role_names(&token).contains(&"audit"));
    cloud
        .auth(by_id(&ann, "ann-secret"), scope.clone())
        .await
        .expect(201);
    let carol = in_domain("carol (night shift)", &corp, "carol-secret");
    let carols = cloud.auth(carol.clone(), scope.clone()).await.expect(201);
    assert_eq!(role_names(&carols), ["audit"]);
    for (name, password) in [
        ("ann", "bob-secret"),
        ("ann", ""),
        ("bob", "bob-secret"),
        ("nobody", "ann-secret"),
        ("reader", "reader-secret"),
    ] {
        cloud
            .auth(in_domain(name, &corp, password), Value::Null)
            .await
            .expect(401);
    }
    // A project of the directory's user is theirs to see.
    let own = cloud
        .get(&token.token(), "/v3/auth/projects")
        .await
        .expect(200);
    assert_eq!(own.column("projects", "name"), ["p"]);

    // Who leaves the group there holds nothing through it here.
    modify(
        &server,
        OPERATORS,
        Mod::Delete("member", HashSet::from([CAROL])),
    )
    .await;
    cloud.auth(carol, scope).await.expect(401);
    let left = cloud
        .get(&admin, &format!("/v3/groups/{group}/users"))
        .await
        .expect(200);
    assert_eq!(left.column("users", "name"), ["ann"]);

    // Nothing is ever written there.
    let new = json!({"user": {"name": "x", "domain_id": corp, "password": "pw"}});
    let user = format!("/v3/users/{ann}");
    let change = json!({"user": {"original_password": "ann-secret", "password": "new"}});
    for (method, path, body) in [
        ("POST", "/v3/users", new),
        ("PATCH", user.as_str(), json!({"user": {"enabled": false}})),
        ("DELETE", &user, Value::Null),
        ("POST", &format!("{user}/password"), change),
        (
            "POST",
            "/v3/groups",
            json!({"group": {"name": "x", "domain_id": corp}}),
        ),
        ("DELETE", &format!("/v3/groups/{group}"), Value::Null),
        (
            "PUT",
            &format!("/v3/groups/{group}/users/{ann}"),
            Value::Null,
        ),
        (
            "DELETE",
            &format!("/v3/groups/{group}/users/{ann}"),
            Value::Null,
        ),
    ] {
        let refused = cloud.call(&admin, method, path, body).await;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.body);
        assert_eq!(refused.message(), "LDAP does not support write operations");
    }
    cloud.auth(proof, Value::Null).await.expect(201);
    // Other domains have no part in it.
    cloud.user(&admin, "local", "default").await;
    cloud.login("local", "pw", Value::Null).await.expect(201);
    cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(401);
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    format!("{:x}", sha2::Sha256::digest(text))
}

/// OSSA-2026-007: what a directory says of being enabled is text, and `FALSE` is no yes.
#[tokio::test]
async fn ossa_2026_007_who_is_disabled_in_the_directory_is_disabled() {
    let server = Slapd::start(ENTRIES).await.unwrap();
    let cloud = Cloud::with(common(&server)).await;
    // The cloud's own users are where they were.
    let admin = cloud.admin().await;
    cloud
        .login("bob", "bob-secret", Value::Null)
        .await
        .expect(401);
    // In the common directory ids are the directory's own.
    let bob = cloud.get(&admin, "/v3/users/b1").await.expect(200);
    assert_eq!(bob.body["user"]["enabled"], false);
    let token = cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(201);
    assert_eq!(token.body["token"]["user"]["id"], "a1");
    let token = token.token();
    let carol = by_id("c1", "carol-secret");
    let carols = cloud
        .auth(carol.clone(), Value::Null)
        .await
        .expect(201)
        .token();
    cloud.check(&token).await.expect(200);

    modify(&server, ANN, set_to("employeeType", "FALSE")).await;
    remove(&server, CAROL).await;
    // Nobody logs in or is looked up now: that they are over is seen when the directory is asked again.
    cloud.clock.advance(Duration::from_secs(601));
    until_over(&cloud, &admin, &token).await;
    until_over(&cloud, &admin, &carols).await;
    for _ in 0..2 {
        let login = cloud.login("ann", "ann-secret", Value::Null).await;
        login.expect(401);
        cloud.auth(carol.clone(), Value::Null).await.expect(401);
    }
    let ann = cloud.get(&admin, "/v3/users/a1").await.expect(200);
    assert_eq!(ann.body["user"]["enabled"], false);
    cloud.get(&admin, "/v3/users/c1").await.expect(404);
    // What is no boolean is no yes either.
    modify(&server, ANN, set_to("employeeType", "perhaps")).await;
    cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(401);
    // Enabled again, ann logs in again; what was over stays over.
    modify(&server, ANN, set_to("employeeType", "TRUE")).await;
    cloud.clock.advance(Duration::from_secs(1));
    cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(201);
    cloud.check_as(&admin, &token).await.expect(404);
}

/// Whatever a name holds is a name.
#[tokio::test]
async fn names_are_no_filters() {
    let server = Slapd::start(ENTRIES).await.unwrap();
    let cloud = Cloud::with(common(&server)).await;
    let admin = cloud.admin().await;
    let hostile = [
        "*",
        "a*",
        "ann)(uid=*",
        "*)(objectClass=*",
        "ann)(|(uid=*)",
        "\\61nn",
        "ann\0",
        "(",
        ")",
        "\\",
    ];
    for name in hostile {
        cloud
            .login(name, "ann-secret", Value::Null)
            .await
            .expect(401);
        cloud
            .auth(by_id(name, "ann-secret"), Value::Null)
            .await
            .expect(401);
        let escaped: String = name.bytes().map(|b| format!("%{b:02x}")).collect();
        let listed = cloud
            .get(&admin, &format!("/v3/users?name={escaped}"))
            .await
            .expect(200);
        assert_eq!(listed.column("users", "id"), Vec::<String>::new(), "{name}");
        if name != "ann\0" {
            cloud
                .get(&admin, &format!("/v3/users/{escaped}"))
                .await
                .expect(404);
        }
    }
    // Parentheses in a name are letters.
    cloud
        .login("carol (night shift)", "carol-secret", Value::Null)
        .await
        .expect(201);
}

#[tokio::test]
async fn a_directory_that_is_away_stops_only_its_own() {
    let mut server = Slapd::start(ENTRIES).await.unwrap();
    let cloud = Cloud::with(common(&server)).await;
    let token = cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(201)
        .token();
    server.kill();
    let away = cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(504);
    assert!(
        away.message()
            .starts_with("Unable to establish a connection to LDAP Server"),
        "{}",
        away.message()
    );
    // What was known is believed, and the cloud's own users need no directory.
    cloud.clock.advance(Duration::from_secs(601));
    cloud.check(&token).await.expect(200);
    let admin = cloud.admin().await;
    cloud.check_as(&admin, &token).await.expect(200);
    // Connections that broke are made again.
    server.restart().await.unwrap();
    cloud
        .login("ann", "ann-secret", Value::Null)
        .await
        .expect(201);
    cloud.login("ann", "wrong", Value::Null).await.expect(401);
}

/// A certificate for the address of tests, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The server refuses every word that is not encrypted, so whoever logs in did so by TLS.
#[tokio::test]
async fn a_directory_over_tls() {
    let (pem, key) = certificate();
    let special = Special {
        certificate: Some((&pem, &key)),
        lines: "security ssf=128",
    };
    let server = Slapd::start_special(ENTRIES, special).await.unwrap();
    let ldaps = server.tls_url().unwrap();
    let other = std::env::temp_dir().join(format!("{}.pem", base::new_hex_id()));
    std::fs::write(&other, certificate().0).unwrap();
    let own = Some(server.certificate());
    let plain = server.url();
    for (url, use_tls, authority, status) in [
        (&ldaps, false, own.clone(), 201),
        (&plain, true, own.clone(), 201),
        (&plain, false, own, 500),
        (&ldaps, false, Some(other.clone()), 504),
        (&plain, true, Some(other.clone()), 504),
        (&ldaps, false, None, 504),
    ] {
        let mut conf = common(&server);
        conf.ldap.url = url.clone();
        conf.ldap.use_tls = use_tls;
        conf.ldap.tls_cacertfile = authority;
        let cloud = Cloud::with(conf).await;
        let login = cloud.login("ann", "ann-secret", Value::Null).await;
        assert_eq!(login.status, status, "{url} {use_tls}: {}", login.body);
        if status == 201 {
            cloud.login("ann", "guess", Value::Null).await.expect(401);
        }
    }
    std::fs::remove_file(other).unwrap();
}

/// A server that sends two entries at once, and any number of pages.
#[tokio::test]
async fn lists_come_in_pages() {
    let special = Special {
        certificate: None,
        lines: "limits * size.soft=2 size.hard=2 size.pr=2 size.prtotal=unlimited",
    };
    let server = Slapd::start_special(ENTRIES, special).await.unwrap();
    for (page_size, found) in [(0, 2), (1, 3), (2, 3)] {
        let mut conf = common(&server);
        conf.ldap.page_size = page_size;
        let cloud = Cloud::with(conf).await;
        let admin = cloud.admin().await;
        let users = cloud.get(&admin, "/v3/users?domain_id=default").await;
        let names = users.expect(200).column("users", "name");
        let theirs = names
            .iter()
            .filter(|n| ["ann", "bob", "carol (night shift)"].contains(&n.as_str()));
        assert_eq!(theirs.count(), found, "{page_size}: {names:?}");
    }
}

/// Options in Keystone's own files, by the name of the domain.
#[tokio::test]
async fn a_domains_options_in_a_file() {
    let server = Slapd::start(ENTRIES).await.unwrap();
    let folder = std::env::temp_dir().join(format!("domains-{}", base::new_hex_id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = String::from("[identity]\ndriver = ldap\n\n[ldap]\n");
    for (name, value) in options(&server).as_object().unwrap() {
        if let Some(value) = value.as_str() {
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
    std::fs::write(folder.join("keystone.corp.conf"), text).unwrap();
    std::fs::write(
        folder.join("keystone.plain.conf"),
        "[identity]\ndriver = sql\n",
    )
    .unwrap();
    std::fs::write(folder.join("README"), "not an option").unwrap();
    let mut conf = conf();
    conf.identity.domain_specific_drivers_enabled = true;
    conf.identity.domain_config_dir = folder.clone();
    let cloud = Cloud::with(conf.clone()).await;
    let admin = cloud.admin().await;
    for name in ["corp", "plain", "other"] {
        let body = json!({"name": name});
        let domain = cloud.make(&admin, "/v3/domains", "domain", body).await;
        let list = format!("/v3/users?domain_id={domain}");
        let users = cloud.get(&admin, &list).await.expect(200);
        let body = json!({"user": {"name": "new", "password": "pw", "domain_id": domain}});
        let made = cloud.call(&admin, "POST", "/v3/users", body).await;
        let login = cloud
            .auth(in_domain("ann", &domain, "ann-secret"), Value::Null)
            .await;
        let (count, made_is, login_is) = match name {
            "corp" => (3, 403, 201),
            _ => (0, 201, 401),
        };
        assert_eq!(users.column("users", "id").len(), count, "{name}");
        assert_eq!((made.status, login.status), (made_is, login_is), "{name}");
    }
    // A file that is wrong is noticed when keystone starts, and says where without telling what.
    std::fs::write(
        folder.join("keystone.corp.conf"),
        "[ldap]\npassword secret\n",
    )
    .unwrap();
    let deps = crate::cloud::deps(&crate::cloud::database().await, &cloud.clock, conf);
    let words = keystone::build(deps).await.err().unwrap().to_string();
    assert!(words.contains("keystone.corp.conf: line 2"), "{words}");
    assert!(!words.contains("secret"), "{words}");
    std::fs::remove_dir_all(folder).unwrap();
}
