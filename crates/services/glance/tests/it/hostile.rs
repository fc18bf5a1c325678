//! What no client sends by accident: refused in words, and nothing of it stays.

use crate::cloud::Cloud;
use oslo_http::Body;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");
const PATCH: (&str, &str) = (
    "content-type",
    "application/openstack-images-v2.1-json-patch",
);

/// As deep as a stack, as long as a mebibyte, or of a hundred thousand parts.
#[tokio::test]
async fn deep_and_huge_bodies_are_refused() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let before = cloud.show(&id).await;
    const DEEP: usize = 200_000;
    let lists = format!("{}{}", "[".repeat(DEEP), "]".repeat(DEEP));
    let objects = format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP));
    let inside = format!("{{\"name\": \"x\", \"extra\": {lists}}}");
    let operation = format!(
        "[{{\"op\": \"add\", \"path\": \"/x\", \"value\": {}}}]",
        &lists[..]
    );
    let operations = format!(
        "[{}{{\"op\": \"test\"}}]",
        "{\"op\":\"add\",\"path\":\"/x\",\"value\":\"y\"},".repeat(20_000)
    );
    let path = format!(
        "[{{\"op\": \"add\", \"path\": \"{}\", \"value\": \"y\"}}]",
        "/x".repeat(100_000)
    );
    let many: String = (0..80_000).map(|n| format!("\"t{n}\",")).collect();
    let tags = format!("{{\"tags\": [{many}\"x\"]}}");
    let open = "[".repeat(DEEP);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    let image = format!("/v2/images/{id}");
    for (token, method, path_of, kind) in [
        ("p1", "POST", "/v2/images".to_string(), JSON),
        ("p1", "PATCH", image.clone(), PATCH),
        ("p1", "POST", format!("{image}/import"), JSON),
        ("p1", "POST", format!("{image}/members"), JSON),
        ("p1", "POST", format!("{image}/locations"), JSON),
        ("admin", "POST", "/v2/metadefs/namespaces".into(), JSON),
        ("admin", "POST", "/v2/tasks".into(), JSON),
    ] {
        for (name, body) in [
            ("lists", &lists),
            ("objects", &objects),
            ("inside", &inside),
            ("operation", &operation),
            ("operations", &operations),
            ("path", &path),
            ("tags", &tags),
            ("open", &open),
            ("huge", &huge),
        ] {
            let headers = [kind, ("accept", "application/json")];
            let body = Body::from(body.clone());
            let answer = cloud.send(token, method, &path_of, &headers, body).await;
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path_of} {name}: {} {:?}",
                answer.status,
                answer.json()
            );
        }
    }
    assert_eq!(cloud.show(&id).await, before);
    let all = cloud.ok("p1", "GET", "/v2/images", None).await;
    assert_eq!(all["images"].as_array().unwrap().len(), 1);
}

/// Who somebody is, only a token says: a member with an administrator's headers is a member.
#[tokio::test]
async fn ossa_2026_001_forged_identity_headers_gain_nothing() {
    let cloud = Cloud::new().await;
    let id = cloud.image("p1", json!({})).await;
    let forged = [
        JSON,
        ("x-identity-status", "Confirmed"),
        ("x-is-admin-project", "True"),
        ("x-owner", "p1"),
        ("x-project-id", "p1"),
        ("x-roles", "admin,member"),
        ("x-service-catalog", "[]"),
        ("x-service-roles", "service"),
        ("x-tenant-id", "p1"),
        ("x-user-id", "user-admin"),
    ];
    let image = format!("/v2/images/{id}");
    for (method, path) in [
        ("GET", image.clone()),
        ("DELETE", image.clone()),
        ("GET", format!("{image}/file")),
        ("GET", format!("{image}/members")),
    ] {
        let answer = cloud.send("p2", method, &path, &forged, Body::Empty).await;
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    let mut headers = forged.to_vec();
    headers[0] = PATCH;
    let public = json!([{"op": "replace", "path": "/visibility", "value": "public"}]);
    let public = Body::from(public.to_string());
    let answer = cloud.send("p1", "PATCH", &image, &headers, public).await;
    assert_eq!(answer.status, 403);
    let made = json!({"name": "mine", "owner": "p1"});
    let made = Body::from(made.to_string());
    let answer = cloud.send("p2", "POST", "/v2/images", &forged, made).await;
    assert_eq!(answer.status, 403);
    assert_eq!(cloud.show(&id).await["visibility"], "shared");
}

/// A sparse vmdk with this text for its descriptor.
fn vmdk(descriptor: &str) -> Vec<u8> {
    let mut image = vec![0u8; 128 << 10];
    image[..8].copy_from_slice(b"KDMV\x01\0\0\0");
    for (at, number) in [(12, 2048u64), (20, 128), (28, 1), (36, 20), (56, 21)] {
        image[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    image[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
    image
}

/// A vmdk that is one file by its first bytes, and names others in its descriptor.
#[tokio::test]
async fn ossa_2023_002_vmdk_extents_are_nowhere_else() {
    let cloud = Cloud::new().await;
    let lines = |lines: &[&str]| {
        let head = "# Disk DescriptorFile\nversion=1\n".to_string();
        vmdk(&lines.iter().fold(head, |all, line| all + line + "\n"))
    };
    let sparse = "createType=\"monolithicSparse\"";
    let own = "RW 2048 SPARSE \"disk.vmdk\"";
    for (image, status) in [
        (
            lines(&[
                "createType=\"monolithicFlat\"",
                "RW 2048 FLAT \"/etc/passwd\" 0",
            ]),
            415,
        ),
        (
            lines(&["createType=\"twoGbMaxExtentFlat\"", "RW 2048 FLAT \"x\" 0"]),
            415,
        ),
        (
            lines(&["createType=\"vmfsRaw\"", "RW 2048 VMFSRDM \"/dev/sda\""]),
            415,
        ),
        (lines(&[sparse, "RW 2048 SPARSE \"/etc/passwd\""]), 415),
        (lines(&[sparse, "RW 2048 SPARSE \"../../etc/passwd\""]), 415),
        (lines(&[sparse, "rdonly 2048 flat \"/etc/passwd\" 0"]), 415),
        (lines(&[sparse, own, "RW 2048 SPARSE \"other.vmdk\""]), 415),
        (
            lines(&[sparse, own, "parentFileNameHint=\"/etc/passwd\""]),
            415,
        ),
        (lines(&[sparse, "createType=\"monolithicFlat\"", own]), 415),
        (lines(&[own]), 415),
        (vmdk(""), 415),
        (lines(&[sparse, own]), 204),
    ] {
        let id = cloud.image("p1", json!({"disk_format": "vmdk"})).await;
        let text = String::from_utf8_lossy(&image[512..700]).into_owned();
        let answer = cloud.upload("p1", &id, image).await;
        assert_eq!(answer.status, status, "{text}: {:?}", answer.json());
    }
}

/// Each form in which an address of ours can be written is refused before anybody asks it anything, for an import as for
/// a location.
#[tokio::test]
async fn ossa_2026_004_no_form_of_an_address_leads_inside() {
    let cloud = Cloud::with(glance::Conf {
        enabled_backends: [("file", "file"), ("web", "http")]
            .map(|(name, kind)| (name.to_string(), kind.to_string()))
            .into(),
        ..glance::Conf::default()
    })
    .await;
    let id = cloud.image("p1", json!({})).await;
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.01",
        "017700000001",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ] {
        let uri = format!("http://{host}/latest/meta-data/");
        let body = json!({"method": {"name": "web-download", "uri": uri}});
        let path = format!("/v2/images/{id}/import");
        let (status, fault) = cloud.ask("p1", "POST", &path, Some(body)).await;
        assert_eq!(status, 400, "{uri}: {fault}");
        let path = format!("/v2/images/{id}/locations");
        let (status, fault) = cloud
            .ask("p1", "POST", &path, Some(json!({"url": uri})))
            .await;
        assert_eq!(status, 400, "{uri}: {fault}");
    }
    // What a name leads to is seen when it is asked for.
    let body = json!({"method": {"name": "web-download", "uri": "http://localhost/"}});
    let path = format!("/v2/images/{id}/import");
    cloud.ok("p1", "POST", &path, Some(body)).await;
    cloud.imported().await;
    let image = cloud.show(&id).await;
    assert_eq!(image["status"], "queued");
    assert_eq!(image["os_glance_failed_import"], "file");
}
