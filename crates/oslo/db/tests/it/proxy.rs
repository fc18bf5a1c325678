//! A small TCP proxy before one or several servers: connections go to the first that lives, and may be cut at a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Where a server listens.
#[derive(Clone)]
pub enum Target {
    Tcp(String),
    Unix(PathBuf),
}

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// It passes.
    Never,
    /// The server never sees it.
    Before,
    /// The server makes it, and the client does not hear so.
    After,
    /// The server sees it long after the client was cut off.
    Late,
}

/// Given the statements that end with a commit.
pub type Plan = Arc<dyn Fn(&[u8]) -> Cut + Send + Sync>;

/// Ends, with its connections, when it is dropped.
pub struct Proxy {
    pub port: u16,
    accept: tokio::task::JoinHandle<()>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(target: &Target) -> std::io::Result<Box<dyn Stream>> {
    Ok(match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

impl Proxy {
    pub async fn start(targets: Vec<Target>, plan: Plan) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                let (targets, plan) = (targets.clone(), plan.clone());
                connections.spawn(async move {
                    for target in &targets {
                        if let Ok(server) = connect(target).await {
                            let _ = pass(client, server, plan).await;
                            return;
                        }
                    }
                });
            }
        });
        Proxy { port, accept }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Whether it is asked what became of a commit.
pub fn is_decision(sql: &[u8]) -> bool {
    sql.windows(7).any(|w| w == b", false")
}

async fn pass(
    mut client: TcpStream,
    mut server: Box<dyn Stream>,
    plan: Plan,
) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let n = read?;
                if n == 0 {
                    return Ok(());
                }
                let bytes = &up[..n];
                let cut = if bytes.ends_with(b"COMMIT") || is_decision(bytes) { plan(bytes) } else { Cut::Never };
                match cut {
                    Cut::Never => server.write_all(bytes).await?,
                    Cut::Before => return Ok(()),
                    Cut::After => {
                        server.write_all(bytes).await?;
                        // The answer has several packets; the last says that the commit was made.
                        if server.read(&mut down).await? == 0 {
                            return Ok(());
                        }
                        let more = Duration::from_millis(200);
                        while let Ok(Ok(1..)) =
                            tokio::time::timeout(more, server.read(&mut down)).await
                        {}
                        return Ok(());
                    }
                    Cut::Late => {
                        drop(client);
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        server.write_all(bytes).await?;
                        let _ = server.read(&mut down).await;
                        return Ok(());
                    }
                }
            }
            read = server.read(&mut down) => {
                let n = read?;
                if n == 0 {
                    return Ok(());
                }
                client.write_all(&down[..n]).await?;
            }
        }
    }
}
