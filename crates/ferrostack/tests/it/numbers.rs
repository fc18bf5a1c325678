//! What load balancers, Prometheus and whoever upgrades ask of a cloud.

use ferrostack::boot::{self, Cloud};
use ferrostack::config::Settings;
use ferrostack::schema;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Removed when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(more: &str) -> (Folder, Settings) {
    let folder = Folder(std::env::temp_dir().join(format!("numbers-{}", base::new_hex_id())));
    let text = format!(
        "{more}[identity]\npassword_hash_rounds = 4\n[DEFAULT]\nfake = true\n[api]\nidentity_port = 0\nimage_port = 0\n\
         placement_port = 0\nnetwork_port = 0\ncompute_port = 0\nmetadata_port = 0\nvolume_port = 0\nnovnc_port = 0\ndrain = 1\n"
    );
    let mut settings = Settings::parse(&text).unwrap();
    settings.default.state_path = folder.0.clone();
    (folder, settings)
}

/// (status, body)
async fn get(url: &str) -> std::io::Result<(u16, String)> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut socket = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    Ok((head[9..12].parse().unwrap(), body.to_string()))
}

fn apis(cloud: &Cloud) -> Vec<String> {
    cloud.urls.values().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_of_a_whole_cloud() {
    let (_folder, settings) = settings("[metrics]\nport = 0\n");
    let cloud = boot::start(settings).await.unwrap();
    let apis = apis(&cloud);
    assert_eq!(apis.len(), 7);
    for api in &apis {
        let answer = get(&format!("{api}/healthcheck")).await.unwrap();
        assert_eq!(answer, (200, "OK".to_string()), "{api}");
    }
    let identity = cloud.urls["identity"].clone();
    let metrics = cloud.metrics_url.clone().unwrap();
    get(&format!("{identity}/v3")).await.unwrap();
    get(&format!("{identity}/v3/users/a-secret-id"))
        .await
        .unwrap();
    get(&format!("{identity}/v3/no-such-thing")).await.unwrap();
    // Agents report over the bus by and by.
    let end = Instant::now() + Duration::from_secs(20);
    let (status, text) = loop {
        let (status, text) = get(&metrics).await.unwrap();
        let served = text.contains("ferrostack_rpc_served_total{method=\"");
        if served && text.contains(r#"ferrostack_rpc_waiting{topic=""#) {
            break (status, text);
        }
        assert!(Instant::now() < end, "no calls in\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status, 200);
    for line in [
        r#"ferrostack_http_requests_total{service="keystone",method="GET",route="/v3",action="",code="200"}"#,
        r#"ferrostack_http_requests_total{service="keystone",method="GET",route="/v3/users/{user_id}",action="",code="401"}"#,
        r#"ferrostack_http_requests_total{service="keystone",method="",route="",action="",code="404"}"#,
        r#"ferrostack_http_request_duration_seconds_bucket{service="keystone",method="GET",route="/v3",action="",le="0.001"}"#,
        r#"ferrostack_db_queries_total{database="nova"}"#,
        r#"ferrostack_db_waiting{database="keystone"} 0"#,
        r#"ferrostack_worker_up{worker="metrics"} 1"#,
        r#"ferrostack_reconciler_runs_total{reconciler=""#,
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains("a-secret-id"),
        "ids are nobody's labels:\n{text}"
    );
    assert!(!text.contains("healthcheck"), "nor are health checks work");
    assert_eq!(get(&format!("{metrics}/x")).await.unwrap().0, 404);

    // It says that it goes before it goes.
    let stopping = tokio::spawn(cloud.stop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    for api in &apis {
        let (status, _) = get(&format!("{api}/healthcheck")).await.unwrap();
        assert_eq!(status, 503, "{api}");
    }
    assert_eq!(get(&format!("{identity}/v3")).await.unwrap().0, 200);
    stopping.await.unwrap();
    assert!(get(&format!("{identity}/healthcheck")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_made_before_the_cloud() {
    let (_folder, settings) = settings("");
    let before = schema::versions(settings.clone()).await.unwrap();
    assert_eq!(before.len(), 6);
    assert!(
        before
            .iter()
            .all(|v| v.newest.is_none() && !v.pending.is_empty())
    );
    assert!(!settings.default.state_path.exists(), "only looked at");

    // As two operators do at once.
    let (one, two) = tokio::join!(
        schema::sync(settings.clone()),
        schema::sync(settings.clone())
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    for (service, applied) in &one {
        let other = two.iter().find(|(s, _)| s == service).unwrap();
        let missing = &before
            .iter()
            .find(|v| v.service == *service)
            .unwrap()
            .pending;
        assert_eq!(
            applied.len() + other.1.len(),
            missing.len(),
            "{service}: each once"
        );
    }
    let after = schema::versions(settings.clone()).await.unwrap();
    assert!(
        after
            .iter()
            .all(|v| v.newest.is_some() && v.pending.is_empty())
    );
    let again = schema::sync(settings.clone()).await.unwrap();
    assert!(again.iter().all(|(_, applied)| applied.is_empty()));
    boot::start(settings).await.unwrap().stop().await;
}
