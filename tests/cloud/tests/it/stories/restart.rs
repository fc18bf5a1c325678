//! A cloud that stops and starts again has forgotten nothing.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use serde_json::{Value, json};

pub async fn everything_is_there_after_a_restart(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let before = p.member.boot(&seed, "web").await;
    let server = text(&before, "id");
    let stopped = text(&p.member.boot(&seed, "off").await, "id");
    p.member
        .act(&stopped, "os-stop", Value::Null)
        .await
        .expect(202);
    p.member.wait_server(&stopped, "SHUTOFF").await;
    let volume = p.member.volume(1).await;
    p.member.attach_volume(&server, &volume).await.expect(200);
    p.member.wait_volume(&volume, "in-use").await;
    let guests = cloud.guests();
    let allocated = cloud.allocation(&server).await;
    let providers = cloud.providers().await;

    let cloud = cloud.restart().await;
    // The token is as good as before: no new login.
    let member = p.member.at_cloud(&cloud.endpoints);
    let after = member.wait_server(&server, "ACTIVE").await;
    for field in [
        "id",
        "name",
        "addresses",
        "created",
        "key_name",
        "metadata",
        "image",
        "tenant_id",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    member.wait_server(&stopped, "SHUTOFF").await;
    member.wait_volume(&volume, "in-use").await;
    assert_eq!(member.ports_of(&server).await[0]["status"], "ACTIVE");
    assert_eq!(
        (cloud.guests(), cloud.providers().await),
        (guests, providers)
    );
    assert_eq!(cloud.allocation(&server).await, allocated);
    let image = member
        .get("image", &format!("/v2/images/{}/file", seed.image))
        .await
        .expect(200);
    assert_eq!(image.body.as_str().map(str::len), Some(4096));

    // And it goes on working.
    member
        .act(&stopped, "os-start", Value::Null)
        .await
        .expect(202);
    member.wait_server(&stopped, "ACTIVE").await;
    member.detach_volume(&server, &volume).await.expect(202);
    member.wait_volume(&volume, "available").await;
    member.delete_server(&server).await;
    let again = member
        .create_server(&seed, "new", json!({}))
        .await
        .expect(202)
        .id("server");
    member.wait_server(&again, "ACTIVE").await;
    assert_eq!(cloud.guests().len(), 2);
    cloud.stop().await;
}
