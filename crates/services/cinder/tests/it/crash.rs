//! What a crash leaves behind is finished, or ends in error.

use crate::cloud::Cloud;
use cinder::db::VolumeRow;
use cinder::volume::status::VolumeStatus;
use oslo_db::{eq, set};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_create_is_resumed() {
    let cloud = Cloud::new().await;
    cloud.agent.gate.forget_permits(1000);
    let body = json!({"volume": {"size": 1}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    let id = created["volume"]["id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    let cloud = cloud.crash().await;
    assert_eq!(cloud.status(&id).await, "creating");
    // The next life asks the agent again, while the first request is still under way.
    cloud.agent.waiting.acquire().await.unwrap().forget();
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "available");
    assert_eq!(*cloud.agent.creates.lock().unwrap(), 2);
}

#[tokio::test]
async fn what_nobody_works_on_ends_in_error() {
    let cloud = Cloud::new().await;
    let ids = [
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Creating,
            "error",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Deleting,
            "error_deleting",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Extending,
            "error_extending",
        ),
        (
            cloud.volume(json!({"size": 1})).await,
            VolumeStatus::Reserved,
            "reserved",
        ),
    ];
    for (id, status, _) in ids.clone() {
        let change = move |tx: &mut oslo_db::Tx| {
            tx.update::<VolumeRow>(eq("id", &id), &[set("status", status)])
        };
        cloud.db.write(change).await.unwrap();
    }
    // A process that starts looks at once.
    let cloud = cloud.crash().await;
    let settled = async {
        for (id, _, wanted) in &ids {
            while cloud.status(id).await != *wanted {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_volume_reserved_too_early_breaks_with_its_create() {
    let cloud = Cloud::new().await;
    cloud.agent.gate.forget_permits(1000);
    let body = json!({"volume": {"size": 3, "imageRef": crate::cloud::IMAGE}});
    let created = cloud.post("ann", "/v3/p1/volumes", body).await.expect(202);
    let id = created["volume"]["id"].as_str().unwrap().to_string();
    cloud.agent.waiting.acquire().await.unwrap().forget();
    assert_eq!(cloud.status(&id).await, "downloading");
    let claim = json!({"attachment": {"volume_uuid": id, "instance_uuid": crate::cloud::SERVER}});
    cloud
        .post("ann", "/v3/p1/attachments", claim)
        .await
        .expect(200);
    assert_eq!(cloud.status(&id).await, "reserved");
    // The process dies, and in its next life the backend has failed.
    let failed = base::Error::conflict("no space");
    *cloud.agent.fail.lock().unwrap() = Some(failed);
    let cloud = cloud.crash().await;
    cloud.agent.gate.add_permits(1000);
    cloud.idle().await;
    assert_eq!(cloud.status(&id).await, "error");
}
