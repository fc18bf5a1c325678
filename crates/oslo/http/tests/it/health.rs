//! What load balancers ask.

use base::Error;
use http::Method;
use oslo_http::{Body, Endpoint};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

async fn ask(endpoint: &Arc<dyn Endpoint>, method: Method) -> (u16, String) {
    let request = http::Request::builder().method(method).uri("/healthcheck");
    let reply = endpoint.call(request.body(Body::Empty).unwrap()).await;
    let bytes = reply.body.collect(1000).await.unwrap();
    assert_eq!(reply.headers["content-type"], "text/plain; charset=UTF-8");
    (
        reply.status.as_u16(),
        String::from_utf8(bytes.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn a_service_says_that_it_is_well_and_when_it_leaves() {
    let endpoint = crate::endpoint();
    assert_eq!(ask(&endpoint, Method::GET).await, (200, "OK".into()));
    assert_eq!(ask(&endpoint, Method::HEAD).await, (204, String::new()));
    endpoint.health().unwrap().leave();
    let (status, words) = ask(&endpoint, Method::GET).await;
    assert_eq!((status, words.as_str()), (503, "The service is stopping."));
    let still = crate::call("GET", "/", &[], "").await;
    assert_eq!(still.status, 300, "requests on their way are served");
}

#[tokio::test]
async fn a_database_that_fails_takes_its_service_out_and_in_again() {
    let endpoint = crate::endpoint();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    endpoint.health().unwrap().probe(move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                1 => Err(Error::unavailable("down").log("a secret place")),
                _ => Ok(()),
            }
        }
    });
    assert_eq!(ask(&endpoint, Method::GET).await.0, 200);
    let failed = ask(&endpoint, Method::GET).await;
    assert_eq!(failed, (503, "The database does not answer.".into()));
    assert_eq!(ask(&endpoint, Method::GET).await.0, 200);
}

#[tokio::test]
async fn a_database_that_hangs_is_asked_once_and_not_waited_for() {
    let endpoint = crate::endpoint();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    endpoint.health().unwrap().probe(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        }
    });
    let begun = Instant::now();
    let many = (0..20).map(|_| ask(&endpoint, Method::GET));
    for answer in futures::future::join_all(many).await {
        assert_eq!(
            answer,
            (503, "The database does not answer in time.".into())
        );
    }
    assert_eq!(ask(&endpoint, Method::HEAD).await.0, 503);
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
