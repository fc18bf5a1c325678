//! What is asked in order to be remembered: nothing of it may stay.

use crate::endpoint;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use oslo_http::Body;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;

thread_local! {
    /// Bytes that this thread has taken and not given back.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: i64) {
    // A thread that ends allocates after its locals are gone.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: it is the system's allocator that allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: what the caller promises is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: what the caller promises is handed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every series that somebody began.
struct Series(Mutex<Vec<String>>);

static SERIES: Series = Series(Mutex::new(Vec::new()));

impl Series {
    fn add(&self, key: &Key) {
        self.0.lock().unwrap().push(key.to_string());
    }
}

impl Recorder for &'static Series {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.add(key);
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.add(key);
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.add(key);
        Histogram::noop()
    }
}

/// Upstream kept a controller for each path that nobody serves, until the process was out of memory.
#[tokio::test]
async fn ossa_2021_006_unknown_paths_leave_nothing_behind() {
    metrics::set_global_recorder(&SERIES).unwrap();
    let endpoint = endpoint();
    let ask = async |numbers: std::ops::Range<u32>| {
        for n in numbers {
            for (method, path) in [
                ("GET", format!("/zq{n}")),
                ("GET", format!("/v1/zq{n}/zq{n}?zq{n}=zq{n}")),
                ("GET", format!("/v1/toys/zq{n}/zq{n}")),
                ("DELETE", format!("/v9/{}", "zq/".repeat(n as usize % 500))),
                (&format!("ZQ{n}"), "/v1/toys".to_string()),
                (&format!("ZQ{n}"), format!("/zq{n}")),
            ] {
                let request = http::Request::builder().method(method).uri(&path);
                let request = request.header("x-auth-token", "member");
                let request = request.body(Body::Empty).unwrap();
                let reply = endpoint.call(request).await;
                let status = reply.status.as_u16();
                assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
            }
        }
    };
    ask(0..1000).await;
    let before = HELD.get();
    ask(1000..3000).await;
    let kept = HELD.get() - before;
    assert!(kept < 16 << 10, "12,000 requests left {kept} bytes behind");
    let series = SERIES.0.lock().unwrap();
    assert!(!series.is_empty());
    let strange = series.iter().find(|key| key.to_lowercase().contains("zq"));
    assert_eq!(strange, None, "what callers make up becomes no label");
}
