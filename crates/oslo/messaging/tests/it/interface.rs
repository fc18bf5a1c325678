//! What `interface!` makes.

use base::{Error, Kind};
use oslo_context::RequestContext;
use oslo_messaging::{Bus, Target};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    name: String,
    size: u64,
}

oslo_messaging::interface! {
    /// What a toy compute node does.
    pub trait ToyApi, client ToyClient, topic "toy", exchange "toys", version "1.3" {
        /// Starts something.
        call fn spawn(&self, spec: Spec, host: Option<String>) -> Spec;
        call fn refuse(&self, why: String);
        call fn seen(&self) -> Vec<String>;
        cast fn refresh(&self, host: String);
        cast fn ping(&self);
    }
}

#[derive(Default)]
struct Toy {
    seen: Mutex<Vec<String>>,
}

#[oslo_messaging::__private::async_trait]
impl ToyApi for Toy {
    async fn spawn(
        &self,
        ctx: &RequestContext,
        mut spec: Spec,
        host: Option<String>,
    ) -> base::Result<Spec> {
        spec.name = format!(
            "{} for {} on {}",
            spec.name,
            ctx.user(),
            host.unwrap_or_default()
        );
        Ok(spec)
    }

    async fn refuse(&self, _ctx: &RequestContext, why: String) -> base::Result<()> {
        Err(Error::conflict(why).class("ToyRefused"))
    }

    async fn seen(&self, _ctx: &RequestContext) -> base::Result<Vec<String>> {
        Ok(self.seen.lock().unwrap().clone())
    }

    async fn refresh(&self, _ctx: &RequestContext, host: String) -> base::Result<()> {
        self.seen.lock().unwrap().push(host);
        Ok(())
    }

    async fn ping(&self, _ctx: &RequestContext) -> base::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn typed_clients_reach_typed_servers() {
    let bus = Bus::in_process();
    let ctx = RequestContext {
        user_id: Some("ann".into()),
        ..RequestContext::anonymous()
    };
    let server = ToyClient::serve(&bus, "host1", Arc::new(Toy::default()))
        .await
        .unwrap();
    let client = ToyClient::new(&bus).server("host1");

    let spec = client
        .spawn(
            &ctx,
            Spec {
                name: "s".into(),
                size: 3,
            },
            Some("h".into()),
        )
        .await
        .unwrap();
    assert_eq!(
        spec,
        Spec {
            name: "s for ann on h".into(),
            size: 3
        }
    );
    let error = client.refuse(&ctx, "busy".into()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), error.error_class()),
        (Kind::Conflict, "busy", Some("ToyRefused"))
    );
    client.fanout().refresh(&ctx, "h2".into()).await.unwrap();
    client.ping(&ctx).await.unwrap();
    while client.seen(&ctx).await.unwrap() != ["h2"] {
        tokio::task::yield_now().await;
    }
    server.stop().await;
    assert_eq!(
        client.ping(&ctx).await.unwrap_err().kind(),
        Kind::Unavailable
    );
}

#[tokio::test]
async fn strangers_are_refused_politely() {
    let bus = Bus::in_process();
    let ctx = RequestContext::anonymous();
    let _server = ToyClient::serve(&bus, "host1", Arc::new(Toy::default()))
        .await
        .unwrap();
    let target = ToyClient::target();

    let class = async |target: &Target, method: &str, args| {
        let error = bus.call(&ctx, target, method, args).await.unwrap_err();
        error.error_class().map(str::to_string)
    };
    assert_eq!(
        class(&target, "fly", json!({})).await.as_deref(),
        Some("NoSuchMethod")
    );
    assert_eq!(
        class(&target, "refuse", json!({"why": 5})).await.as_deref(),
        Some("InvalidRpcArguments")
    );
    assert_eq!(
        class(&target, "refuse", json!([1])).await.as_deref(),
        Some("InvalidRpcArguments")
    );
    let newer = Target::topic("toys", "toy").version("1.4");
    assert_eq!(
        class(&newer, "seen", json!({})).await.as_deref(),
        Some("UnsupportedVersion")
    );
    let spec = json!({"spec": {"name": "n", "size": 1}});
    let answer = bus.call(&ctx, &target, "spawn", spec).await.unwrap();
    assert_eq!(answer["size"], 1, "an optional argument may be missing");
}

/// A client in one process and a server in another.
pub async fn across(here: &Bus, there: &Bus) {
    let ctx = RequestContext {
        user_id: Some("ann".into()),
        ..RequestContext::anonymous()
    };
    let server = ToyClient::serve(there, "far", Arc::new(Toy::default()))
        .await
        .unwrap();
    let spec = ToyClient::new(here)
        .spawn(
            &ctx,
            Spec {
                name: "s".into(),
                size: 3,
            },
            None,
        )
        .await
        .unwrap();
    assert_eq!(spec.name, "s for ann on ");
    server.stop().await;
}

pub async fn serve_toy(bus: &Bus) -> oslo_messaging::ServerHandle {
    ToyClient::serve(bus, "host1", Arc::new(Toy::default()))
        .await
        .unwrap()
}

/// Asks until the toy answers.
pub async fn answers_again(bus: &Bus) {
    let client = ToyClient::new(bus)
        .server("host1")
        .timeout(std::time::Duration::from_secs(2));
    let asking = async { while client.seen(&RequestContext::anonymous()).await.is_err() {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), asking)
        .await
        .expect("it comes back");
}
