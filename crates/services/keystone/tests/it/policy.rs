//! Who may do what: upstream's rules, upstream's words.

use crate::cloud::{Cloud, by_id};
use serde_json::{Value, json};

const DENIED: &str = "You are not authorized to perform the requested action: identity:";

/// A user with one role at one place, and their token there.
async fn somebody(
    cloud: &Cloud,
    admin: &str,
    name: &str,
    domain: &str,
    place: &str,
    role: &str,
) -> (String, String) {
    let id = cloud.user(admin, name, domain).await;
    cloud
        .grant(admin, place, &format!("users/{id}"), role)
        .await;
    let scope = match place.split_once('/') {
        Some(("projects", id)) => json!({"project": {"id": id}}),
        Some((_, id)) => json!({"domain": {"id": id}}),
        None => json!({"system": {"all": true}}),
    };
    let token = cloud
        .auth(by_id(&id, "pw"), scope)
        .await
        .expect(201)
        .token();
    (id, token)
}

#[tokio::test]
async fn a_member_sees_themselves_only() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let (ann, token) = somebody(
        &cloud,
        &admin,
        "ann",
        "default",
        &format!("projects/{project}"),
        "member",
    )
    .await;
    let no = cloud.get(&token, "/v3/users").await.expect(403);
    assert_eq!(no.message(), format!("{DENIED}list_users."));
    cloud
        .get(&token, &format!("/v3/users/{ann}"))
        .await
        .expect(200);
    cloud
        .get(&token, &format!("/v3/users/{}", cloud.ids.admin_user_id))
        .await
        .expect(403);
    cloud.get(&token, "/v3/users/nobody").await.expect(403);
    cloud
        .get(&token, &format!("/v3/projects/{project}"))
        .await
        .expect(200);
    cloud
        .get(
            &token,
            &format!("/v3/projects/{}", cloud.ids.admin_project_id),
        )
        .await
        .expect(403);
    cloud.get(&token, "/v3/regions").await.expect(200);
    for path in [
        "/v3/services",
        "/v3/endpoints",
        "/v3/domains",
        "/v3/projects",
        "/v3/groups",
        "/v3/roles",
        "/v3/role_assignments",
        "/v3/role_inferences",
    ] {
        let no = cloud.get(&token, path).await;
        assert_eq!(no.status, 403, "{path}");
        assert!(no.message().starts_with(DENIED), "{}", no.message());
    }
    let admin_role = cloud.role(&admin, "admin").await;
    let climb = format!("/v3/projects/{project}/users/{ann}/roles/{admin_role}");
    cloud
        .call(&token, "PUT", &climb, Value::Null)
        .await
        .expect(403);
    cloud
        .call(
            &token,
            "PATCH",
            &format!("/v3/users/{ann}"),
            json!({"user": {"enabled": true}}),
        )
        .await
        .expect(403);
    cloud.check_as(&token, &admin).await.expect(403);
    cloud
        .check_as(&token, "gAAAA-not-a-token")
        .await
        .expect(404);
    cloud.get("", "/v3/users").await.expect(401);
    cloud
        .get("gAAAA-not-a-token", "/v3/users")
        .await
        .expect(401);
}

#[tokio::test]
async fn a_reader_of_the_system_reads() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (_, token) = somebody(&cloud, &admin, "eve", "default", "system", "reader").await;
    for path in [
        "/v3/users",
        "/v3/services",
        "/v3/endpoints",
        "/v3/domains",
        "/v3/projects",
        "/v3/groups",
        "/v3/roles",
        "/v3/role_assignments",
    ] {
        cloud.get(&token, path).await.expect(200);
    }
    cloud.check_as(&token, &admin).await.expect(200);
    cloud
        .call(&token, "POST", "/v3/users", json!({"user": {"name": "x"}}))
        .await
        .expect(403);
    cloud
        .call(
            &token,
            "DELETE",
            &format!("/v3/projects/{}", cloud.ids.admin_project_id),
            Value::Null,
        )
        .await
        .expect(403);
}

#[tokio::test]
async fn a_domains_manager_rules_that_domain() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let mine = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "mine"}))
        .await;
    let other = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "other"}))
        .await;
    let stranger = cloud.user(&admin, "stranger", &other).await;
    let (meg, token) = somebody(
        &cloud,
        &admin,
        "meg",
        &mine,
        &format!("domains/{mine}"),
        "manager",
    )
    .await;

    let users = cloud.get(&token, "/v3/users").await.expect(200);
    assert_eq!(
        users.column("users", "id"),
        [meg.as_str()],
        "only the own domain's"
    );
    assert_eq!(
        cloud
            .get(&token, &format!("/v3/users?domain_id={other}"))
            .await
            .expect(200)
            .column("users", "id")
            .len(),
        0
    );
    assert_eq!(
        cloud
            .get(&token, "/v3/domains")
            .await
            .expect(200)
            .column("domains", "id"),
        [mine.as_str()]
    );
    cloud
        .get(&token, &format!("/v3/domains/{other}"))
        .await
        .expect(403);
    cloud
        .get(&token, &format!("/v3/users/{stranger}"))
        .await
        .expect(403);

    // The rule is asked about what the body names; the token's domain stands in only for those whom it asks nothing.
    for (path, key) in [
        ("/v3/users", "user"),
        ("/v3/groups", "group"),
        ("/v3/projects", "project"),
    ] {
        let body = json!({key: {"name": "new"}});
        let no = cloud.call(&token, "POST", path, body).await.expect(403);
        assert_eq!(no.message(), format!("{DENIED}create_{key}."));
    }
    let body = json!({"user": {"name": "new", "password": "pw", "domain_id": mine}});
    let new = cloud
        .call(&token, "POST", "/v3/users", body)
        .await
        .expect(201)
        .id("user");
    let body = json!({"user": {"name": "new", "domain_id": other}});
    cloud
        .call(&token, "POST", "/v3/users", body)
        .await
        .expect(403);
    let project = cloud
        .call(
            &token,
            "POST",
            "/v3/projects",
            json!({"project": {"name": "p", "domain_id": mine}}),
        )
        .await
        .expect(201)
        .id("project");
    cloud
        .call(
            &token,
            "PATCH",
            &format!("/v3/users/{stranger}"),
            json!({"user": {"enabled": false}}),
        )
        .await
        .expect(403);

    // Managers hand out member and reader, not admin, and only at home.
    let member = cloud.role(&admin, "member").await;
    let grant =
        |place: &str, user: &str, role: &str| format!("/v3/{place}/users/{user}/roles/{role}");
    let home = format!("projects/{project}");
    cloud
        .call(&token, "PUT", &grant(&home, &new, &member), Value::Null)
        .await
        .expect(204);
    let admin_role = cloud.role(&admin, "admin").await;
    cloud
        .call(&token, "PUT", &grant(&home, &new, &admin_role), Value::Null)
        .await
        .expect(403);
    cloud
        .call(
            &token,
            "PUT",
            &grant(&home, &stranger, &member),
            Value::Null,
        )
        .await
        .expect(403);
    let abroad = format!("projects/{}", cloud.ids.admin_project_id);
    cloud
        .call(&token, "PUT", &grant(&abroad, &new, &member), Value::Null)
        .await
        .expect(403);
    cloud
        .call(&token, "PUT", &grant("system", &new, &member), Value::Null)
        .await
        .expect(403);

    let seen = cloud.get(&token, "/v3/role_assignments").await.expect(200);
    assert_eq!(
        seen.body["role_assignments"].as_array().unwrap().len(),
        2,
        "{}",
        seen.body
    );
    cloud
        .call(&token, "DELETE", &format!("/v3/users/{new}"), Value::Null)
        .await
        .expect(204);
}

#[tokio::test]
async fn services_validate_tokens() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.ids.service_project_id.clone();
    let (_, token) = somebody(
        &cloud,
        &admin,
        "svc",
        "default",
        &format!("projects/{project}"),
        "service",
    )
    .await;
    cloud.check_as(&token, &admin).await.expect(200);
    cloud.get(&token, "/v3/users").await.expect(403);
}

/// That a domain, role or group is not there is told before the rule, whoever asks to change it; looking at a domain
/// is another matter.
#[tokio::test]
async fn what_is_not_there_is_told_to_those_who_may_not() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let place = "domains/default";
    let (_, token) = somebody(&cloud, &admin, "ann", "default", place, "reader").await;
    let role = cloud.role(&admin, "admin").await;
    let group = json!({"name": "g"});
    let group = cloud.make(&admin, "/v3/groups", "group", group).await;
    for (method, path, there, nowhere) in [
        ("PATCH", "/v3/domains", "default", 404),
        ("PATCH", "/v3/roles", &role, 404),
        ("DELETE", "/v3/roles", &role, 404),
        ("DELETE", "/v3/groups", &group, 404),
    ] {
        let body = match method {
            "PATCH" if path == "/v3/roles" => json!({"role": {"description": "d"}}),
            "PATCH" => json!({"domain": {"description": "d"}}),
            _ => Value::Null,
        };
        let path_of = |id: &str| format!("{path}/{id}");
        let asked = path_of("nowhere");
        let answer = cloud.call(&token, method, &asked, body.clone()).await;
        assert_eq!(answer.status, nowhere, "{method} {path}: {}", answer.body);
        let answer = cloud.call(&token, method, &path_of(there), body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
    }
    cloud.get(&token, "/v3/domains/nowhere").await.expect(403);
}

/// An administrator whose token is of a domain may look at any group and any user, and is told only what is of that domain.
#[tokio::test]
async fn memberships_across_domains_are_told_to_nobody_but_their_domains() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (mut users, mut groups) = (vec![], vec![]);
    let mut tokens = vec![];
    for name in ["here", "there"] {
        let body = json!({"name": name});
        let domain = cloud.make(&admin, "/v3/domains", "domain", body).await;
        users.push(cloud.user(&admin, &format!("of-{name}"), &domain).await);
        let body = json!({"name": "g", "domain_id": domain});
        groups.push(cloud.make(&admin, "/v3/groups", "group", body).await);
        let place = format!("domains/{domain}");
        tokens.push(
            somebody(&cloud, &admin, "boss", &domain, &place, "admin")
                .await
                .1,
        );
        tokens.push(
            somebody(&cloud, &admin, "clerk", &domain, &place, "reader")
                .await
                .1,
        );
    }
    for group in &groups {
        for user in &users {
            let path = format!("/v3/groups/{group}/users/{user}");
            cloud
                .call(&admin, "PUT", &path, Value::Null)
                .await
                .expect(204);
        }
    }
    let ids = async |token: &str, path: String, key: &str| {
        let mut ids = cloud.get(token, &path).await.expect(200).column(key, "id");
        ids.sort();
        ids
    };
    let (boss, clerk) = (&tokens[0], &tokens[1]);
    for (group, user) in groups.iter().zip(&users) {
        let members = format!("/v3/groups/{group}/users");
        assert_eq!(
            ids(boss, members.clone(), "users").await,
            [users[0].as_str()]
        );
        let of_user = format!("/v3/users/{user}/groups");
        assert_eq!(
            ids(boss, of_user.clone(), "groups").await,
            [groups[0].as_str()]
        );
        // Without a domain, all of both.
        assert_eq!(ids(&admin, members, "users").await.len(), 2);
        assert_eq!(ids(&admin, of_user, "groups").await.len(), 2);
    }
    let members = format!("/v3/groups/{}/users", groups[0]);
    assert_eq!(ids(clerk, members, "users").await, [users[0].as_str()]);
    let members = format!("/v3/groups/{}/users", groups[1]);
    cloud.get(clerk, &members).await.expect(403);
}

/// Who may look at the assignments below a project is asked about the domain of that project.
#[tokio::test]
async fn a_tree_of_another_domain_is_no_readers_business() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"name": "mine"});
    let mine = cloud.make(&admin, "/v3/domains", "domain", body).await;
    let place = format!("domains/{mine}");
    let (rita, reader) = somebody(&cloud, &admin, "rita", &mine, &place, "reader").await;
    let (_, boss) = somebody(&cloud, &admin, "boss", &mine, &place, "admin").await;
    let project = cloud.project(&admin, "p", &mine).await;
    let body = json!({"name": "below", "domain_id": mine, "parent_id": project});
    let below = cloud.make(&admin, "/v3/projects", "project", body).await;
    let actor = format!("users/{rita}");
    cloud
        .grant(&admin, &format!("projects/{below}"), &actor, "member")
        .await;

    let tree = |id: &str| format!("/v3/role_assignments?scope.project.id={id}&include_subtree");
    let seen = cloud.get(&reader, &tree(&project)).await.expect(200);
    let seen = &seen.body["role_assignments"];
    assert_eq!(seen.as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen[0]["scope"]["project"]["id"], below.as_str());
    let other = tree(&cloud.ids.admin_project_id);
    let no = cloud.get(&reader, &other).await.expect(403);
    assert_eq!(
        no.message(),
        format!("{DENIED}list_role_assignments_for_tree.")
    );
    // An administrator of the domain is not refused, and told nothing.
    let seen = cloud.get(&boss, &other).await.expect(200);
    assert_eq!(seen.body["role_assignments"], json!([]));
    cloud.get(&reader, &tree("nowhere")).await.expect(404);
    let all = "/v3/role_assignments?include_subtree";
    cloud.get(&reader, all).await.expect(403);
    cloud.get(&admin, all).await.expect(400);
}

/// A domain's role is for that domain's projects; on other domains it may be granted and gives nothing.
#[tokio::test]
async fn roles_of_one_domain_in_another() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"name": "mine"});
    let mine = cloud.make(&admin, "/v3/domains", "domain", body).await;
    let ann = cloud.user(&admin, "ann", &mine).await;
    let body = json!({"name": "theirs", "domain_id": "default"});
    let role = cloud.make(&admin, "/v3/roles", "role", body).await;
    let project = cloud.project(&admin, "p", &mine).await;
    let grant = |place: String| format!("/v3/{place}/users/{ann}/roles/{role}");
    let on_project = grant(format!("projects/{project}"));
    let no = cloud.call(&admin, "PUT", &on_project, Value::Null).await;
    assert_eq!(
        no.expect(403).message(),
        format!("Project {project} must be in the same domain as the role {role} being assigned.")
    );
    let on_domain = grant(format!("domains/{mine}"));
    cloud
        .call(&admin, "PUT", &on_domain, Value::Null)
        .await
        .expect(204);
    cloud.get(&admin, &on_domain).await.expect(204);
    let scope = json!({"domain": {"id": mine}});
    cloud.auth(by_id(&ann, "pw"), scope).await.expect(401);
}
