//! Volumes: attached, grown, detached, and taken along by a server that goes.

use crate::client::text;
use crate::cloud::{Place, TestCloud};
use serde_json::json;

pub async fn a_volume_comes_grows_and_goes(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let server = text(&p.member.boot(&seed, "web").await, "id");
    let volume = p.member.volume(1).await;

    let attached = p
        .member
        .attach_volume(&server, &volume)
        .await
        .expect(200)
        .key("volumeAttachment");
    assert_eq!(attached["device"], "/dev/vdb");
    let shown = p.member.wait_volume(&volume, "in-use").await;
    assert_eq!(
        (
            &shown["attachments"][0]["server_id"],
            &shown["attachments"][0]["device"]
        ),
        (&json!(server), &json!("/dev/vdb"))
    );
    let listed = p.member.server(&server).await;
    assert_eq!(
        listed["os-extended-volumes:volumes_attached"][0]["id"],
        volume
    );

    // Nobody takes it away under the server, and nobody attaches it twice.
    assert_eq!(p.member.delete_volume(&volume).await.status, 400);
    assert_eq!(p.member.attach_volume(&server, &volume).await.status, 400);

    p.member
        .volume_action(&volume, "os-extend", json!({"new_size": 3}))
        .await
        .expect(202);
    let grown = p.member.wait_volume(&volume, "in-use").await;
    assert_eq!(grown["size"], 3);
    assert_eq!(
        p.member
            .volume_action(&volume, "os-extend", json!({"new_size": 2}))
            .await
            .status,
        400
    );

    p.member.detach_volume(&server, &volume).await.expect(202);
    let free = p.member.wait_volume(&volume, "available").await;
    assert_eq!(free["attachments"], json!([]));
    assert_eq!(p.member.detach_volume(&server, &volume).await.status, 404);

    // A server that is deleted gives its volumes back.
    p.member.attach_volume(&server, &volume).await.expect(200);
    p.member.wait_volume(&volume, "in-use").await;
    p.member.delete_server(&server).await;
    p.member.wait_volume(&volume, "available").await;
    p.member.delete_volume(&volume).await.expect(202);
    let (member, id) = (&p.member, &volume);
    crate::wait::wait_for("the volume to be gone", || async move {
        (member.show_volume(id).await.status == 404).then_some(())
    })
    .await;
}

pub async fn a_server_boots_with_a_volume_that_ends_with_it(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let volume = p.member.volume(1).await;
    let disks = json!({"block_device_mapping_v2": [
        {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": seed.image},
        {"source_type": "volume", "destination_type": "volume", "uuid": volume, "boot_index": -1, "delete_on_termination": true}]});
    let server = p
        .member
        .create_server(&seed, "db", disks)
        .await
        .expect(202)
        .id("server");
    p.member.wait_server(&server, "ACTIVE").await;
    p.member.wait_volume(&volume, "in-use").await;
    p.member.delete_server(&server).await;
    let (member, id) = (&p.member, &volume);
    crate::wait::wait_for("the volume to be gone", || async move {
        (member.show_volume(id).await.status == 404).then_some(())
    })
    .await;
    // A volume that is not there stops the boot before it begins.
    let disks = json!({"block_device_mapping_v2": [
        {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": seed.image},
        {"source_type": "volume", "destination_type": "volume", "uuid": volume, "boot_index": -1}]});
    assert_eq!(p.member.create_server(&seed, "db", disks).await.status, 400);
}
