//! What stands before several controllers. Tests ask them in turn, request by request, so that nothing can rest on one
//! process's memory; the cloud's own processes find them behind one address, connection by connection, as behind HAProxy.

use base::Error;
use futures::future::BoxFuture;
use http::{Method, Request};
use oslo_http::{Body, Endpoint, Reply, RouteInfo};
use sdk::{Http, Transport};
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Service types and their ports; each cloud has addresses of its own on the loopback interface, so these are always free.
pub const PORTS: [(&str, u16); 7] = [
    ("compute", 8774),
    ("identity", 5000),
    ("image", 9292),
    ("metadata", 8775),
    ("network", 9696),
    ("placement", 8778),
    ("volumev3", 8776),
];
/// On an answer that nobody gave: the controller died with the question.
pub const LOST: &str = "x-lost";
const MOST: usize = 64 << 20;

/// The way to a controller.
pub struct Way {
    address: Ipv4Addr,
    /// None while it is down.
    http: RwLock<Option<Arc<Http>>>,
}

impl Way {
    pub fn new(address: Ipv4Addr) -> Way {
        Way {
            address,
            http: RwLock::default(),
        }
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What HAProxy's checks find out, at once. A process that was started again is met with connections of its own.
    pub fn is_up(&self, up: bool) {
        let address = self.address;
        let url = |(service, port): (&str, u16)| {
            (service.to_string(), format!("http://{address}:{port}"))
        };
        let http = up.then(|| Http::new(PORTS.map(url).into()).expect("a client"));
        *self.http.write().expect("a way") = http.map(Arc::new);
    }

    fn http(&self) -> Option<Arc<Http>> {
        self.http.read().expect("a way").clone()
    }
}

/// Those to all controllers.
pub struct Ways {
    all: Vec<Arc<Way>>,
    turn: AtomicUsize,
}

impl Ways {
    pub fn new(all: Vec<Arc<Way>>) -> Ways {
        Ways {
            all,
            turn: AtomicUsize::new(0),
        }
    }

    /// Each once, beginning with another one each time.
    fn in_turn(&self) -> Vec<(Ipv4Addr, Arc<Http>)> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.all.len();
        let ways = (0..count).map(|n| &self.all[(first + n) % count]);
        ways.filter_map(|way| Some((way.address, way.http()?)))
            .collect()
    }

    async fn carry(&self, mut client: TcpStream, port: u16) {
        for (address, _) in self.in_turn() {
            if let Ok(mut server) = TcpStream::connect((address, port)).await {
                // An end is an end, whoever made it.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                return;
            }
        }
    }
}

/// One service at all controllers.
pub struct Turns {
    pub service: &'static str,
    pub ways: Arc<Ways>,
    pub public: Ipv4Addr,
    pub routes: Vec<RouteInfo>,
}

async fn ask(way: &Http, service: &str, request: Request<Body>) -> Result<Reply, Error> {
    let reply = way.send(service, request).await?;
    let bytes = reply.body.collect(MOST).await?;
    Ok(Reply {
        status: reply.status,
        headers: reply.headers,
        body: Body::from(bytes),
    })
}

/// Links lead to where the client asked, as they do behind HAProxy, which hands on the client's `Host`; the sdk's client
/// cannot.
async fn as_seen(reply: Reply, asked: Ipv4Addr, public: Ipv4Addr) -> Reply {
    let json = reply.headers.get("content-type");
    let json = json.is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if !json {
        return reply;
    }
    let body = reply.body.collect(MOST).await.expect("bytes at hand");
    let (from, to) = (format!("//{asked}:"), format!("//{public}:"));
    let text = String::from_utf8_lossy(&body).replace(&from, &to);
    Reply {
        body: Body::from(text),
        ..reply
    }
}

impl Endpoint for Turns {
    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect(MOST).await.expect("a body");
            // Asked again only if nothing can have been done: another controller might do it twice.
            let harmless = matches!(parts.method, Method::GET | Method::HEAD);
            for (address, way) in self.ways.in_turn() {
                let body = match bytes.is_empty() {
                    true => Body::Empty,
                    false => Body::from(bytes.clone()),
                };
                let request = Request::from_parts(parts.clone(), body);
                match ask(&way, self.service, request).await {
                    Ok(reply) => return as_seen(reply, address, self.public).await,
                    Err(_) if harmless => {}
                    Err(_) => break,
                }
            }
            let words = json!({"error": {"code": 503, "message": "The controller died with this request."}});
            let reply = Reply::json(503, &words).expect("a reply");
            reply.header(LOST, "1")
        })
    }

    fn routes(&self) -> Vec<RouteInfo> {
        self.routes.clone()
    }

    fn name(&self) -> &'static str {
        self.service
    }
}

/// The public address: every connection is carried to a controller. Ends when dropped.
pub struct Front(#[expect(dead_code, reason = "held")] JoinSet<()>);

impl Front {
    /// None if the address is taken.
    pub async fn open(address: Ipv4Addr, ways: &Arc<Ways>) -> Option<Front> {
        let mut tasks = JoinSet::new();
        for (_, port) in PORTS {
            let listener = TcpListener::bind((address, port)).await.ok()?;
            let ways = Arc::clone(ways);
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    let ways = Arc::clone(&ways);
                    connections.spawn(async move { ways.carry(client, port).await });
                    while connections.try_join_next().is_some() {}
                }
            });
        }
        Some(Front(tasks))
    }
}
