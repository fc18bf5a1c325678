//! Who holds what where: as granted, and as it takes effect.

use crate::cloud::{Cloud, by_id};
use serde_json::{Value, json};

#[tokio::test]
async fn inherited_roles_hold_below() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let domain = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "corp"}))
        .await;
    let top = cloud.project(&admin, "top", &domain).await;
    let leaf = cloud
        .make(
            &admin,
            "/v3/projects",
            "project",
            json!({"name": "leaf", "parent_id": top}),
        )
        .await;
    let ann = cloud.user(&admin, "ann", &domain).await;
    let member = cloud.role(&admin, "member").await;
    let at = |id: &str| json!({"project": {"id": id}});

    let on_top =
        format!("/v3/OS-INHERIT/projects/{top}/users/{ann}/roles/{member}/inherited_to_projects");
    cloud
        .call(&admin, "PUT", &on_top, Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "HEAD", &on_top, Value::Null)
        .await
        .expect(204);
    cloud.auth(by_id(&ann, "pw"), at(&top)).await.expect(401);
    let token = cloud
        .auth(by_id(&ann, "pw"), at(&leaf))
        .await
        .expect(201)
        .token();
    assert_eq!(
        cloud
            .get(&token, "/v3/auth/projects")
            .await
            .expect(200)
            .column("projects", "id"),
        [leaf.as_str()]
    );

    let shown = cloud
        .get(&admin, &format!("/v3/role_assignments?user.id={ann}"))
        .await
        .expect(200);
    let only = &shown.body["role_assignments"][0];
    assert_eq!(
        only["scope"],
        json!({"project": {"id": top}, "OS-INHERIT:inherited_to": "projects"})
    );
    assert_eq!(
        only["links"]["assignment"],
        format!("http://keystone.test{on_top}")
    );
    let effective = cloud
        .get(
            &admin,
            &format!("/v3/role_assignments?user.id={ann}&effective"),
        )
        .await
        .expect(200);
    let places: Vec<&Value> = effective.body["role_assignments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["scope"]["project"]["id"])
        .collect();
    assert_eq!(
        places,
        [&json!(leaf), &json!(leaf)],
        "member and the reader it implies"
    );
    cloud
        .call(&admin, "DELETE", &on_top, Value::Null)
        .await
        .expect(204);
    cloud.check(&token).await.expect(401);

    let on_domain =
        format!("/v3/OS-INHERIT/domains/{domain}/users/{ann}/roles/{member}/inherited_to_projects");
    cloud
        .call(&admin, "PUT", &on_domain, Value::Null)
        .await
        .expect(204);
    cloud.auth(by_id(&ann, "pw"), at(&top)).await.expect(201);
    cloud.auth(by_id(&ann, "pw"), at(&leaf)).await.expect(201);
    cloud
        .auth(by_id(&ann, "pw"), json!({"domain": {"id": domain}}))
        .await
        .expect(401);
}

#[tokio::test]
async fn effective_lists_show_the_way() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = cloud.project(&admin, "p", "default").await;
    let ann = cloud.user(&admin, "ann", "default").await;
    let group = cloud
        .make(&admin, "/v3/groups", "group", json!({"name": "staff"}))
        .await;
    cloud
        .call(
            &admin,
            "PUT",
            &format!("/v3/groups/{group}/users/{ann}"),
            Value::Null,
        )
        .await
        .expect(204);
    cloud
        .grant(
            &admin,
            &format!("projects/{project}"),
            &format!("groups/{group}"),
            "member",
        )
        .await;
    let (member, reader) = (
        cloud.role(&admin, "member").await,
        cloud.role(&admin, "reader").await,
    );

    let list = format!("/v3/role_assignments?scope.project.id={project}");
    let made = cloud.get(&admin, &list).await.expect(200);
    assert_eq!(made.body["role_assignments"].as_array().unwrap().len(), 1);
    assert_eq!(
        made.body["role_assignments"][0]["group"]["id"],
        group.as_str()
    );

    let effective = cloud
        .get(&admin, &format!("{list}&effective&role.id={reader}"))
        .await
        .expect(200);
    let only = &effective.body["role_assignments"][0];
    assert_eq!(only["user"]["id"], ann.as_str());
    assert_eq!(
        only["links"]["assignment"],
        format!("http://keystone.test/v3/projects/{project}/groups/{group}/roles/{member}")
    );
    assert_eq!(
        only["links"]["membership"],
        format!("http://keystone.test/v3/groups/{group}/users/{ann}")
    );
    assert_eq!(
        only["links"]["prior_role"],
        format!("http://keystone.test/v3/roles/{member}")
    );

    let names = cloud
        .get(&admin, &format!("{list}&include_names"))
        .await
        .expect(200);
    let only = &names.body["role_assignments"][0];
    assert_eq!(only["role"]["name"], "member");
    assert_eq!(
        only["group"],
        json!({"id": group, "name": "staff", "domain": {"id": "default", "name": "Default"}})
    );
    assert_eq!(only["scope"]["project"]["name"], "p");

    let system = cloud
        .get(&admin, "/v3/role_assignments?scope.system=all")
        .await
        .expect(200);
    assert_eq!(
        system.body["role_assignments"][0]["scope"],
        json!({"system": {"all": true}})
    );
    let grants = format!("/v3/system/users/{}/roles", cloud.ids.admin_user_id);
    assert_eq!(
        cloud
            .get(&admin, &grants)
            .await
            .expect(200)
            .column("roles", "name"),
        ["admin"]
    );
    for bad in [
        "user.id=a&group.id=b",
        "effective&group.id=b",
        "include_subtree",
        "scope.project.id=a&scope.domain.id=b",
    ] {
        cloud
            .get(&admin, &format!("/v3/role_assignments?{bad}"))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn grants_need_what_they_name() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (project, user) = (
        cloud.ids.admin_project_id.clone(),
        cloud.ids.admin_user_id.clone(),
    );
    let member = cloud.role(&admin, "member").await;
    for (path, what) in [
        (
            format!("/v3/projects/nowhere/users/{user}/roles/{member}"),
            "project: nowhere",
        ),
        (
            format!("/v3/projects/{project}/users/nobody/roles/{member}"),
            "user: nobody",
        ),
        (
            format!("/v3/projects/{project}/groups/none/roles/{member}"),
            "group: none",
        ),
        (
            format!("/v3/projects/{project}/users/{user}/roles/nothing"),
            "role: nothing",
        ),
        (
            format!("/v3/domains/nowhere/users/{user}/roles/{member}"),
            "domain: nowhere",
        ),
    ] {
        let no = cloud
            .call(&admin, "PUT", &path, Value::Null)
            .await
            .expect(404);
        assert_eq!(no.message(), format!("Could not find {what}."));
    }
    let path = format!("/v3/projects/{project}/users/{user}/roles");
    cloud
        .call(&admin, "PUT", &format!("{path}/{member}"), Value::Null)
        .await
        .expect(204);
    cloud
        .call(&admin, "PUT", &format!("{path}/{member}"), Value::Null)
        .await
        .expect(204);
    let mut held = cloud
        .get(&admin, &path)
        .await
        .expect(200)
        .column("roles", "name");
    held.sort();
    assert_eq!(held, ["admin", "member"]);
    let corp = cloud
        .make(&admin, "/v3/domains", "domain", json!({"name": "corp"}))
        .await;
    let own = cloud
        .make(
            &admin,
            "/v3/roles",
            "role",
            json!({"name": "own", "domain_id": corp}),
        )
        .await;
    cloud
        .call(&admin, "PUT", &format!("{path}/{own}"), Value::Null)
        .await
        .expect(403);
    cloud
        .call(
            &admin,
            "PUT",
            &format!("/v3/system/users/{user}/roles/{own}"),
            Value::Null,
        )
        .await
        .expect(400);
}
