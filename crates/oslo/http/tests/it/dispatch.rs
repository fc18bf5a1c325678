//! Matching, negotiation, authorisation, bodies and faults.

use crate::call;

const MEMBER: (&str, &str) = ("x-auth-token", "member");

#[tokio::test]
async fn tokens_and_rules() {
    assert_eq!(call("GET", "/", &[], "").await.status, 300);
    let none = call("GET", "/v1/toys", &[], "").await;
    assert_eq!(
        (
            none.status,
            none.header("www-authenticate").starts_with("Keystone uri=")
        ),
        (401, true)
    );
    assert_eq!(none.json["unauthorized"]["code"], 401);
    assert_eq!(
        call("GET", "/v1/nowhere", &[], "").await.status,
        401,
        "what exists is not told without a token"
    );
    assert_eq!(call("GET", "/v1/nowhere", &[MEMBER], "").await.status, 404);
    assert_eq!(
        call("GET", "/v1/toys", &[("x-auth-token", "reader")], "")
            .await
            .status,
        403
    );
    let forged = call(
        "GET",
        "/v1/toys",
        &[MEMBER, ("x-roles", "admin"), ("x-is-admin-project", "True")],
        "",
    )
    .await;
    assert_eq!(
        (forged.status, forged.json["admin"].as_bool()),
        (200, Some(false))
    );
    assert_eq!(
        call("GET", "/v1/toys", &[("x-auth-token", "admin")], "")
            .await
            .json["admin"],
        true
    );
}

#[tokio::test]
async fn rules_on_the_resource_must_be_checked() {
    assert_eq!(
        call(
            "GET",
            "/v1/toys/t%201",
            &[("x-auth-token", "member@p1")],
            ""
        )
        .await
        .json["id"],
        "t 1"
    );
    assert_eq!(
        call("GET", "/v1/toys/t1", &[("x-auth-token", "member@p2")], "")
            .await
            .status,
        403
    );
    let leak = call("GET", "/v1/forgetful", &[MEMBER], "").await;
    assert_eq!(leak.status, 500);
    assert!(!leak.json.to_string().contains("secret"));
}

#[tokio::test]
async fn versions_are_negotiated_and_echoed() {
    let default = call("GET", "/v1/toys", &[MEMBER], "").await;
    assert_eq!(
        (
            default.header("openstack-api-version"),
            default.json["version"].as_str()
        ),
        ("toys 1.1", Some("1.1"))
    );
    for header in [
        ("openstack-api-version", "other 9.9, toys 1.7"),
        ("x-openstack-toys-api-version", "1.7"),
    ] {
        let a = call("GET", "/v1/toys", &[MEMBER, header], "").await;
        assert_eq!(
            (
                a.header("openstack-api-version"),
                a.header("x-openstack-toys-api-version")
            ),
            ("toys 1.7", "1.7")
        );
    }
    let latest = call(
        "GET",
        "/v1/toys",
        &[MEMBER, ("openstack-api-version", "toys latest")],
        "",
    )
    .await;
    assert_eq!(latest.json["version"], "1.10");
    assert_eq!(
        call(
            "GET",
            "/v1/toys",
            &[MEMBER, ("openstack-api-version", "toys 1.11")],
            ""
        )
        .await
        .status,
        406
    );
    assert_eq!(
        call(
            "GET",
            "/v1/toys",
            &[MEMBER, ("openstack-api-version", "toys 1.01")],
            ""
        )
        .await
        .status,
        400
    );
    let at = |v: &'static str| [MEMBER, ("openstack-api-version", v)];
    for (path, version, status) in [
        ("/v1/new", "toys 1.4", 404),
        ("/v1/new", "toys 1.5", 200),
        ("/v1/old", "toys 1.4", 200),
        ("/v1/old", "toys 1.5", 404),
    ] {
        assert_eq!(
            call("GET", path, &at(version), "").await.status,
            status,
            "{path} at {version}"
        );
    }
}

#[tokio::test]
async fn actions_are_rows() {
    let path = "/v1/toys/t1/action";
    assert_eq!(
        call("POST", path, &[MEMBER], r#"{"wind": {"turns": 3}}"#)
            .await
            .status,
        201
    );
    let missing = call("POST", path, &[MEMBER], r#"{"fly": null}"#).await;
    assert_eq!(
        (
            missing.status,
            missing.json["badRequest"]["message"].as_str()
        ),
        (400, Some("There is no such action: fly"))
    );
    assert_eq!(
        call("POST", path, &[MEMBER], r#"{"drop": null}"#)
            .await
            .status,
        400,
        "not before 1.2"
    );
    assert_eq!(
        call(
            "POST",
            path,
            &[MEMBER, ("openstack-api-version", "toys 1.2")],
            r#"{"drop": null}"#
        )
        .await
        .status,
        204
    );
    for body in ["", "[]", r#"{"wind": 1, "drop": 2}"#] {
        assert_eq!(
            call("POST", path, &[MEMBER], body).await.status,
            400,
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn bad_bodies_change_nothing() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let huge = format!(r#"{{"toy": {{"x": "{}"}}}}"#, "a".repeat(5000));
    let json = ("content-type", "application/json");
    for (body, status) in [
        ("{", 400),
        (deep.as_str(), 400),
        (huge.as_str(), 413),
        ("{}", 400),
        (r#"{"toy": {}, "x": 1}"#, 400),
        (r#"{"toy": {}}"#, 201),
    ] {
        assert_eq!(
            call("POST", "/v1/toys", &[MEMBER, json], body).await.status,
            status,
            "{:.40}",
            body
        );
    }
    assert_eq!(
        call(
            "POST",
            "/v1/toys",
            &[MEMBER, ("content-type", "text/xml")],
            "<toy/>"
        )
        .await
        .status,
        415
    );
    assert_eq!(
        call("GET", "/v1/toys?x=%zz", &[MEMBER], "").await.status,
        400
    );
    assert_eq!(call("GET", "/v1/toys/%ff", &[MEMBER], "").await.status, 400);
}

#[tokio::test]
async fn methods_and_empty_bodies() {
    let wrong = call("PATCH", "/v1/toys/t1", &[MEMBER], "").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "DELETE, GET"));
    let head = call("HEAD", "/v1/toys", &[MEMBER], "").await;
    assert_eq!(
        (
            head.status,
            head.bytes,
            head.header("content-length") != "0"
        ),
        (200, 0, true)
    );
    assert_eq!(call("DELETE", "/v1/toys/t1", &[MEMBER], "").await.bytes, 0);
}

#[tokio::test]
async fn our_own_faults_tell_nothing_but_the_request() {
    for (method, path) in [("GET", "/v1/broken"), ("DELETE", "/v1/toys/panic")] {
        let a = call(method, path, &[MEMBER], "").await;
        assert_eq!(a.status, 500, "{path}");
        let text = a.json.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("boom"),
            "{text}"
        );
        assert!(text.contains(a.header("x-openstack-request-id")), "{text}");
    }
}

#[tokio::test]
async fn request_ids() {
    let a = call("GET", "/v1/toys", &[MEMBER], "").await;
    assert!(a.header("x-openstack-request-id").starts_with("req-"));
    assert_eq!(
        a.header("x-openstack-request-id"),
        a.header("x-toys-request-id")
    );
    let b = call(
        "GET",
        "/v1/toys",
        &[MEMBER, ("x-openstack-request-id", "req-not-an-id")],
        "",
    )
    .await;
    assert_ne!(b.header("x-openstack-request-id"), "req-not-an-id");
}

#[tokio::test]
async fn literal_paths_win_over_parameters_and_rest_paths_take_slashes() {
    assert_eq!(
        call("GET", "/v1/toys/detail", &[MEMBER], "").await.status,
        201,
    );
    assert_eq!(
        call("PUT", "/v1/file/a/b/c", &[], "12345").await.json["bytes"],
        5
    );
}

#[tokio::test]
async fn an_empty_part_is_no_id_and_no_collection() {
    for (method, path, expected) in [
        ("GET", "/v1/toys", 200),
        ("GET", "//v1/toys", 200),
        ("GET", "/v1/toys/", 404),
        ("DELETE", "/v1/toys/", 404),
        ("DELETE", "/v1/toys", 405),
        ("GET", "/v1//toys", 404),
        ("POST", "/v1/toys//action", 404),
        ("PUT", "/v1/file/a//b", 200),
        ("PUT", "/v1/file/a/", 200),
        ("GET", "/", 300),
    ] {
        let body = if method == "POST" {
            r#"{"wind": {}}"#
        } else {
            ""
        };
        let answer = call(method, path, &[MEMBER], body).await;
        assert_eq!(answer.status, expected, "{method} {path}");
    }
}
