//! What only a cloud of many processes can show: one dies and the others go on, two are as exact as one.

use crate::client::{Answer, Client, id, text};
use crate::cloud::{Place, TestCloud, guests};
use crate::processes::LOST;
use crate::wait::{patiently, wait_for};
use futures::future::join_all;
use http::Method;
use oslo_http::Body;
use sdk::{Http, Transport};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every process is told at once; if it does not hear, it looks by itself every second or two.
const HEARD: Duration = Duration::from_secs(20);

/// The same user at each controller.
fn both(cloud: &TestCloud, who: &Client) -> [Client; 2] {
    ["controller1", "controller2"].map(|name| who.at_cloud(&cloud.processes().endpoints_of(name)))
}

/// A question to every service.
async fn statuses(who: &Client) -> BTreeMap<&'static str, u16> {
    let volumes = format!("/v3/{}/volumes", who.project_id);
    let project = format!("/v3/projects/{}", who.project_id);
    let questions = [
        ("identity", project.as_str()),
        ("compute", "/v2.1/servers"),
        ("image", "/v2/images"),
        ("network", "/v2.0/networks"),
        ("placement", "/"),
        ("volumev3", &volumes),
    ];
    let asked = questions.map(|(service, path)| async move {
        let status = who.get(service, path).await.status;
        (service, status)
    });
    join_all(asked).await.into_iter().collect()
}

fn all(statuses: &BTreeMap<&'static str, u16>, status: u16) -> bool {
    // Placement's root tells everybody its versions.
    let mut asked = statuses.iter().filter(|(s, _)| **s != "placement");
    asked.all(|(_, s)| *s == status)
}

async fn revoke(at: &Client) {
    let request = at.request("identity", "DELETE", "/v3/auth/tokens");
    let request = request.header("x-subject-token", &at.token);
    let request = request.body(Body::Empty).expect("a request");
    at.send("identity", request).await.expect(204);
}

pub async fn a_token_revoked_at_one_api_is_refused_by_the_other(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    for memcached in [true, false] {
        if !memcached {
            let server = &cloud.processes().memcached;
            server.lock().expect("a Memcached").kill();
        }
        let member = cloud.login("alpha-member", "pw", "alpha").await;
        for revoking in [0, 1] {
            let member = cloud.login("alpha-member", "pw", "alpha").await;
            let at = both(&cloud, &member);
            for who in &at {
                let told = statuses(who).await;
                assert!(all(&told, 200), "{told:?}");
            }
            revoke(&at[revoking]).await;
            // Where it was revoked it is over at once, everybody else is told.
            let path = format!("/v3/projects/{}", p.id);
            at[revoking].get("identity", &path).await.expect(401);
            for who in &at {
                let refused = patiently(HEARD, || async move {
                    all(&statuses(who).await, 401).then_some(())
                });
                assert!(refused.await.is_some(), "{:?}", statuses(who).await);
            }
        }
        // The user's other token is as good as before.
        assert!(all(&statuses(&member).await, 200));
    }
}

pub async fn what_is_changed_at_one_api_is_seen_at_the_other(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let [one, two] = both(&cloud, &cloud.admin);
    let url_of = |token: &Answer| {
        let catalog = token["token"]["catalog"].as_array().cloned();
        let found = catalog.unwrap_or_default();
        let found = found.iter().find(|s| s["type"] == "object-store")?;
        found["endpoints"][0]["url"].as_str().map(str::to_string)
    };
    // Whether the catalog at that controller says so, now or as soon as it has heard.
    let token = &p.member.token;
    let shows = async |at: &Client, url: Option<&str>| {
        let seen = patiently(HEARD, || async move {
            let request = at.request("identity", "GET", "/v3/auth/tokens");
            let request = request.header("x-subject-token", token);
            let request = request.body(Body::Empty).expect("a request");
            let answer = at.send("identity", request).await.expect(200);
            (url_of(&answer).as_deref() == url).then_some(())
        });
        assert!(seen.await.is_some(), "{url:?}");
    };
    shows(&one, None).await;
    shows(&two, None).await;
    let service = json!({"service": {"name": "swift", "type": "object-store"}});
    let service = one
        .post("identity", "/v3/services", service)
        .await
        .expect(201)
        .id("service");
    let endpoint = json!({"endpoint": {"service_id": service, "interface": "public", "region_id": "RegionOne",
        "url": "http://swift.test"}});
    let endpoint = one
        .post("identity", "/v3/endpoints", endpoint)
        .await
        .expect(201)
        .id("endpoint");
    shows(&two, Some("http://swift.test")).await;
    let body = json!({"endpoint": {"url": "http://swift.elsewhere.test"}});
    let path = format!("/v3/endpoints/{endpoint}");
    two.call("identity", "PATCH", &path, Some(body))
        .await
        .expect(200);
    shows(&one, Some("http://swift.elsewhere.test")).await;
    two.delete("identity", &path).await.expect(204);
    shows(&one, None).await;

    // A password changed at one is the other's, too.
    let body = json!({"user": {"password": "new"}});
    let path = format!("/v3/users/{}", p.reader.user_id);
    one.call("identity", "PATCH", &path, Some(body))
        .await
        .expect(200);
    let old = Client::login(&two.endpoints, "alpha-reader", "pw", "alpha").await;
    assert_eq!(old.err().map(|no| no.status), Some(401));
    let new = Client::login(&two.endpoints, "alpha-reader", "new", "alpha").await;
    assert!(new.is_ok());

    // Bytes uploaded to one come from the other; limits set at one hold at the other.
    let image = one.image("cirros", "public").await;
    let bytes = two.get("image", &format!("/v2/images/{image}/file")).await;
    assert_eq!(bytes.expect(200).body.as_str().map(str::len), Some(4096));
    let (member, path) = (p.member.at_cloud(&two.endpoints), &p.id);
    let quota = json!({"quota_set": {"volumes": 0}});
    let path = format!("/v3/{}/os-quota-sets/{path}", one.project_id);
    one.put("volumev3", &path, quota).await.expect(200);
    let body = json!({"volume": {"size": 1}});
    let path = format!("/v3/{}/volumes", p.id);
    member.post("volumev3", &path, body).await.expect(413);
    let quota = json!({"quota": {"network": 0}});
    let path = format!("/v2.0/quotas/{}", p.id);
    one.put("network", &path, quota).await.expect(200);
    let body = json!({"network": {"name": "n"}});
    member
        .post("network", "/v2.0/networks", body)
        .await
        .expect(409);
}

/// Asks many times at once; how many were granted, and the statuses of the refusals.
async fn crowd<F: Future<Output = Answer>>(ask: impl Fn(usize) -> F) -> (usize, Vec<u16>) {
    let answers = join_all((0..12).map(ask)).await;
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status < 300);
    for no in &bad {
        assert!(no.status < 500, "{}: {}", no.asked, no.body);
    }
    (good.len(), bad.iter().map(|no| no.status).collect())
}

pub async fn quotas_are_exact_at_both_doors(place: Place) {
    let cloud = TestCloud::start(place).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let external = cloud.external().await;
    let (admin, member) = (&cloud.admin, &p.member);
    let quota = json!({"quota_set": {"instances": 3, "key_pairs": 3, "server_groups": 3}});
    let path = format!("/v2.1/os-quota-sets/{}", p.id);
    admin.put("compute", &path, quota).await.expect(200);
    let quota = json!({"quota_set": {"volumes": 3}});
    let path = format!("/v3/{}/os-quota-sets/{}", admin.project_id, p.id);
    admin.put("volumev3", &path, quota).await.expect(200);
    // Three more of each than there are, the default security group included.
    member
        .get("network", "/v2.0/security-groups")
        .await
        .expect(200);
    let path = format!("/v2.0/quotas/{}/details", p.id);
    let used = admin.get("network", &path).await.expect(200).key("quota");
    let room = |what: &str| used[what]["used"].as_u64().expect("a number") + 3;
    let quota = json!({"quota": {"network": room("network"), "router": room("router"),
        "floatingip": room("floatingip"), "security_group": room("security_group"), "port": room("port")}});
    let path = format!("/v2.0/quotas/{}", p.id);
    admin.put("network", &path, quota).await.expect(200);

    let name = |n: usize| format!("n{n}");
    let post = |service: &'static str, path: &str, body: Value| {
        let path = path.to_string();
        async move { member.post(service, &path, body).await }
    };
    let volumes = format!("/v3/{}/volumes", p.id);
    let (network, volumes) = (&seed.network, &volumes);
    let outcomes = [
        ("networks", 409, crowd(|n| post("network", "/v2.0/networks", json!({"network": {"name": name(n)}}))).await),
        ("routers", 409, crowd(|n| post("network", "/v2.0/routers", json!({"router": {"name": name(n)}}))).await),
        ("ports", 409, crowd(|_| post("network", "/v2.0/ports", json!({"port": {"network_id": network}}))).await),
        ("security groups", 409, crowd(|n| post("network", "/v2.0/security-groups", json!({"security_group": {"name": name(n)}}))).await),
        ("floating addresses", 409, crowd(|_| post("network", "/v2.0/floatingips", json!({"floatingip": {"floating_network_id": external}}))).await),
        ("volumes", 413, crowd(|_| post("volumev3", volumes, json!({"volume": {"size": 1}}))).await),
        ("key pairs", 403, crowd(|n| post("compute", "/v2.1/os-keypairs", json!({"keypair": {"name": name(n), "type": "ssh", "public_key": super::metadata::KEY}}))).await),
        ("server groups", 403, crowd(|n| post("compute", "/v2.1/os-server-groups", json!({"server_group": {"name": name(n), "policy": "affinity"}}))).await),
        ("servers", 403, crowd(|n| { let seed = &seed; async move { member.create_server(seed, &name(n), json!({"networks": "none"})).await } }).await),
    ];
    for (what, refusal, (granted, refused)) in outcomes {
        assert_eq!(granted, 3, "{what}");
        assert_eq!(refused, [refusal; 9], "{what}");
    }
}

/// Waits until nobody works on any of the project's servers.
async fn settled(member: &Client) -> Vec<Value> {
    wait_for("every server to end its boot", || async move {
        let all = member.get("compute", "/v2.1/servers/detail").await;
        let all = all.expect(200).list("servers");
        let quiet = |s: &Value| s["OS-EXT-STS:task_state"].is_null() && s["status"] != "BUILD";
        all.iter().all(quiet).then_some(all)
    })
    .await
}

/// Takes all servers away; nothing of them is left anywhere.
async fn leave_without_a_trace(cloud: &TestCloud, member: &Client, servers: &[Value]) {
    join_all(servers.iter().map(|s| async move {
        member.delete_server(&id(s)).await;
    }))
    .await;
    wait_for("no guest and no allocation to be left", || async move {
        let ports = member.get("network", "/v2.0/ports").await.list("ports");
        let left = ports
            .iter()
            .any(|p| text(p, "device_owner").starts_with("compute:"));
        let empty = cloud.guests().is_empty() && cloud.allocations().await.is_empty();
        (empty && !left).then_some(())
    })
    .await;
}

fn count(servers: &[Value], status: &str) -> usize {
    servers.iter().filter(|s| s["status"] == *status).count()
}

pub async fn two_schedulers_give_no_room_twice(place: Place) {
    let cloud = TestCloud::with(place.with_computes(2), |conf| {
        conf.set("nova", "cpu_allocation_ratio", 1.0)
            .set("nova_compute", "fake_vcpus", 2)
            .set("cinder", "max_over_subscription_ratio", 1.0)
            .set("cinder_volume", "fake_capacity_gb", 10)
    })
    .await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let asked = (0..9).map(|n| {
        let (member, seed) = (&p.member, &seed);
        async move {
            let made = member
                .create_server(seed, &format!("s{n}"), json!({}))
                .await;
            made.expect(202)
        }
    });
    join_all(asked).await;
    let servers = settled(&p.member).await;
    let words: Vec<&Value> = servers.iter().map(|s| &s["fault"]["message"]).collect();
    assert_eq!(count(&servers, "ACTIVE"), 4, "{words:?}");
    assert_eq!(count(&servers, "ERROR"), 5, "{words:?}");
    let guests = guests(&cloud.state);
    for host in ["host1", "host2"] {
        assert_eq!(guests.iter().filter(|g| g.host == host).count(), 2);
    }

    let path = format!("/v3/{}/volumes", p.id);
    let made = (0..9).map(|_| {
        let body = json!({"volume": {"size": 2}});
        let (member, path) = (&p.member, &path);
        async move { member.post("volumev3", path, body).await.expect(202) }
    });
    join_all(made).await;
    let (member, path) = (&p.member, &format!("{path}/detail"));
    let volumes = wait_for("all volumes to be made or refused", || async move {
        let volumes = member.get("volumev3", path).await.expect(200);
        let volumes = volumes.list("volumes");
        let ended = |v: &Value| v["status"] == "available" || v["status"] == "error";
        volumes.iter().all(ended).then_some(volumes)
    })
    .await;
    assert_eq!(count(&volumes, "available"), 5, "10 GiB are 5 times 2");
}

pub async fn a_controller_dies_and_the_other_ends_what_it_began(place: Place) {
    let cloud = TestCloud::with(place, |conf| conf.set("nova_compute", "fake_delay_ms", 50)).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let mut asked: Vec<_> = (0..10)
        .map(|n| {
            let (member, seed) = (p.member.clone(), seed.clone());
            tokio::spawn(async move {
                let name = format!("s{n}");
                member.create_server(&seed, &name, json!({})).await
            })
        })
        .collect();
    // As soon as it has some of them in its hands; others are on their way to it.
    asked.remove(0).await.expect("an answer");
    let member = &p.member;
    wait_for("boots to begin", || async move {
        let all = member.get("compute", "/v2.1/servers/detail").await;
        let all = all.list("servers");
        let begun = |s: &&Value| !s["OS-EXT-STS:task_state"].is_null();
        (all.iter().filter(begun).count() >= 3).then_some(())
    })
    .await;
    cloud.processes().kill("controller1");
    let mut promised = Vec::new();
    for answer in join_all(asked).await {
        let answer = answer.expect("an answer");
        match answer.header(LOST) {
            "" => promised.push(answer.expect(202).id("server")),
            _ => continue,
        }
    }
    let servers = settled(member).await;
    for server in &servers {
        assert_eq!(server["status"], "ACTIVE", "{}", server["fault"]);
    }
    for server in promised {
        assert!(
            servers.iter().any(|s| s["id"] == *server),
            "{server} is lost"
        );
    }
    cloud.processes().start_host("controller1").await;
    leave_without_a_trace(&cloud, member, &servers).await;
}

pub async fn a_compute_host_dies_with_boots_in_its_hands(place: Place) {
    let place = place.with_computes(2);
    let cloud = TestCloud::with(place, |conf| conf.set("nova_compute", "fake_delay_ms", 50)).await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let asked = (0..10).map(|n| {
        let (member, seed) = (&p.member, &seed);
        async move {
            let made = member
                .create_server(seed, &format!("s{n}"), json!({}))
                .await;
            made.expect(202).id("server")
        }
    });
    join_all(asked).await;
    let (cloud, state) = (&cloud, &cloud.state);
    wait_for("guests on it", || async move {
        let guests = guests(state);
        let there = guests.iter().filter(|g| g.host == "host1").count();
        (there >= 2).then_some(())
    })
    .await;
    cloud.processes().kill("host1");
    // Long enough for calls to it to be under way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cloud.processes().start_host("host1").await;
    let servers = settled(&p.member).await;
    assert_eq!(servers.len(), 10);
    for server in &servers {
        assert_eq!(server["status"], "ACTIVE", "{}", server["fault"]);
    }
    assert_eq!(guests(state).len(), 10);
    leave_without_a_trace(cloud, &p.member, &servers).await;
}

pub async fn a_host_joins_with_a_ticket(place: Place) {
    let mut cloud = TestCloud::start(place).await;
    cloud.processes_mut().join("host2", "compute").await;
    let state = cloud.processes().state("host2");
    let config = std::fs::read_to_string(state.join("config.toml")).expect("a file");
    assert!(
        !config.contains("mysql"),
        "no way to the database:\n{config}"
    );
    let secrets = std::fs::read_to_string(state.join("secrets.json")).expect("a file");
    let secrets: Value = serde_json::from_str(&secrets).expect("secrets");
    assert_eq!(
        (&secrets["admin_password"], &secrets["cloud_secret"]),
        (&json!(""), &json!(""))
    );
    cloud.wait_for_hosts().await;
    let p = cloud.project("alpha").await;
    let seed = cloud.seed(&p).await;
    let there = json!({"availability_zone": "nova:host2"});
    let made = p.admin.create_server(&seed, "there", there).await;
    let server = made.expect(202).id("server");
    p.admin.wait_server(&server, "ACTIVE").await;
    let guests = guests(&cloud.state);
    let of: Vec<_> = guests.iter().map(|g| (&*g.id, &*g.host)).collect();
    assert_eq!(of, [(&*server, "host2")]);
    p.admin.delete_server(&server).await;
}

/// How often each controller has looked at what a reconciler mends, and how much it has found.
async fn runs(cloud: &TestCloud, reconciler: &str) -> [(f64, f64); 2] {
    let mut all = [(0.0, 0.0); 2];
    for (n, runs) in all.iter_mut().enumerate() {
        let url = cloud
            .processes()
            .metrics_url(&format!("controller{}", n + 1));
        let (base, path) = url.split_at(url.rfind('/').expect("a path"));
        let http = Http::new([("metrics".to_string(), base.to_string())].into()).expect("a client");
        let request = http::Request::builder().method(Method::GET).uri(path);
        let request = request.body(Body::Empty).expect("a request");
        let reply = http.send("metrics", request).await.expect("an answer");
        let page = reply.body.collect(1 << 20).await.expect("a page");
        let page = String::from_utf8_lossy(&page).into_owned();
        let value = |metric: &str| {
            let line = page.lines().find(|l| {
                l.starts_with(&format!("{metric}{{"))
                    && l.contains(&format!("reconciler=\"{reconciler}\""))
                    && !l.contains("outcome=\"error\"")
            });
            let number = line.and_then(|l| l.rsplit(' ').next()?.parse().ok());
            number.unwrap_or(0.0)
        };
        *runs = (
            value("ferrostack_reconciler_runs_total"),
            value("ferrostack_reconciler_examined_total"),
        );
    }
    all
}

pub async fn periodic_work_is_done_by_one_controller_at_a_time(place: Place) {
    let cloud = TestCloud::with(place, |conf| conf.set("metrics", "port", 0)).await;
    let p = cloud.project("alpha").await;
    cloud.seed(&p).await;
    let (cloud, what) = (&cloud, "neutron-reschedule");
    let before = runs(cloud, what).await;
    let after = wait_for("both to have had their turn", || async move {
        let now = runs(cloud, what).await;
        let turns = (0..2).all(|n| now[n].0 >= before[n].0 + 1.0);
        turns.then_some(now)
    })
    .await;
    let mut looked = (0..2).map(|n| after[n].1 - before[n].1).collect::<Vec<_>>();
    looked.sort_by(f64::total_cmp);
    assert!(looked[0] == 0.0 && looked[1] > 0.0, "{looked:?}");
}
