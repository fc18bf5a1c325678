//! The servers under a scaled cloud go and come back: nobody is answered wrongly meanwhile, and afterwards everything
//! that was begun ends.

use crate::client::{Client, text};
use crate::cloud::{Place, Servers, TestCloud};
use crate::project::Seed;
use crate::wait::wait_for;
use oslo_testing::bus::RabbitMq;
use oslo_testing::db::MariaDb;
use serde_json::{Value, json};

/// Asks for a server while something is away: accepted, or refused as 5xx, but never a 4xx that blames the caller.
async fn ask(member: &Client, seed: &Seed) -> Option<String> {
    let answer = member.create_server(seed, "unlucky", json!({})).await;
    match answer.status {
        202 => Some(answer.id("server")),
        500 | 503 | 504 => None,
        other => panic!("{other}: {}", answer.body),
    }
}

/// Waits until the server is ACTIVE, or in ERROR with words, and takes it away.
async fn ends(member: &Client, id: &str) {
    let server = wait_for(format!("server {id} to end its boot"), || async move {
        let answer = member.get("compute", &format!("/v2.1/servers/{id}")).await;
        if answer.status != 200 {
            return None;
        }
        let server = answer.key("server");
        let quiet = server["OS-EXT-STS:task_state"].is_null() && server["status"] != "BUILD";
        quiet.then_some(server)
    })
    .await;
    if server["status"] == "ERROR" {
        assert!(!text(&server["fault"], "message").is_empty(), "{server}");
    }
    member.delete_server(id).await;
}

/// Everything works again: a server comes, with a volume, and goes.
async fn works(cloud: &TestCloud, member: &Client, seed: &Seed) {
    cloud.wait_for_hosts().await;
    let server = text(&member.boot(seed, "lucky").await, "id");
    let volume = member.volume(1).await;
    member.attach_volume(&server, &volume).await.expect(200);
    member.wait_volume(&volume, "in-use").await;
    member.delete_server(&server).await;
    member.wait_volume(&volume, "available").await;
    member.delete_volume(&volume).await.expect(202);
    assert_eq!(cloud.allocation(&server).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_and_rabbitmq_go_and_come_back() {
    let (mut mariadb, mut rabbitmq) =
        tokio::try_join!(MariaDb::start(), RabbitMq::start()).expect("both");
    let place = Place::Scaled(Servers {
        database: mariadb.template(),
        bus: rabbitmq.url(),
    });
    let cloud = TestCloud::start(place).await;
    let sqlite = cloud.state.join("db/nova.sqlite");
    assert!(!sqlite.exists(), "the rows are elsewhere");
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let stays = text(&p.member.boot(&seed, "stays").await, "id");

    // Without its bus a cloud shows what it knows and takes orders; they are carried out when the bus is there again.
    rabbitmq.kill();
    assert_eq!(p.member.server(&stays).await["status"], "ACTIVE");
    let unlucky = ask(&p.member, &seed).await;
    rabbitmq.restart().await.expect("a RabbitMQ");
    if let Some(id) = unlucky {
        ends(&p.member, &id).await;
    }
    works(&cloud, &p.member, &seed).await;

    // Without its database it knows nothing, and says that this is not the caller's fault.
    mariadb.kill();
    let volumes = format!("/v3/{}/volumes", p.id);
    let reads = [
        ("compute", "/v2.1/servers"),
        ("network", "/v2.0/networks"),
        ("image", "/v2/images"),
        ("volumev3", &volumes),
    ];
    // At the same time: each waits for a connection as long as the pool is patient.
    let member = &p.member;
    let answers = reads.map(|(service, path)| member.get(service, path));
    let (answers, order) = tokio::join!(futures::future::join_all(answers), ask(member, &seed));
    assert_eq!(order, None);
    for answer in answers {
        let (status, words) = (answer.status, answer.body.to_string());
        assert!((500..600).contains(&status), "{}: {words}", answer.asked);
        assert!(!words.contains("socket"), "{}: {words}", answer.asked);
    }
    mariadb.restart().await.expect("a MariaDB");
    let id = &stays;
    wait_for("the server to be shown again", || async move {
        let answer = member.get("compute", &format!("/v2.1/servers/{id}")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(p.member.server(&stays).await["status"], "ACTIVE");
    works(&cloud, &p.member, &seed).await;
    p.member.delete_server(&stays).await;
    cloud.stop().await;
}
