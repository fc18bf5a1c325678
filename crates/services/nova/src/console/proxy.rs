//! The noVNC proxy: pages over HTTP, the screen over a WebSocket whose binary frames carry the VNC bytes.

use super::head::{self, Head};
use super::{pages, tickets};
use crate::Nova;
use crate::db::instances;
use base::{Error, Kind, Result};
use futures::{SinkExt as _, StreamExt as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 512;
/// A request's head, a page, a connect must be done by then.
const SHORT: Duration = Duration::from_secs(30);
/// A console on which nothing moves for so long is closed.
const IDLE: Duration = Duration::from_secs(3600);
/// Larger messages from browsers are no VNC.
const MAX_MESSAGE: usize = 1 << 20;

/// Serves noVNC on `listen` until `stop`; returns the address it listens on.
pub async fn serve_novnc(
    nova: Arc<Nova>,
    listen: &str,
    stop: CancellationToken,
) -> Result<SocketAddr> {
    let (listener, address) = oslo_http::bind(listen).await?;
    nova.novnc_port.store(address.port(), Ordering::SeqCst);
    tokio::spawn(accept(nova, listener, stop));
    Ok(address)
}

async fn accept(nova: Arc<Nova>, listener: TcpListener, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of file descriptors: give running connections a moment instead of spinning.
                tracing::warn!("novnc: accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (nova, stop) = (Arc::clone(&nova), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = stop.cancelled() => {}
                done = connection(&nova, stream) => if let Err(e) = done {
                    tracing::debug!("novnc: {}", e.log_message());
                },
            }
        });
    }
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::new(Kind::Timeout, format!("{what} took too long"));
    tokio::time::timeout(SHORT, work).await.map_err(late)?
}

async fn connection(nova: &Nova, mut stream: TcpStream) -> Result<()> {
    let _ = stream.set_nodelay(true);
    let head = match within("a request", head::read(&mut stream)).await {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(()),
        Err(e) => return pages::refuse(&mut stream, "400 Bad Request", e.message()).await,
    };
    let get = head.method == "GET";
    if get && head.has_word("upgrade", "websocket") {
        return match admit(nova, &head).await {
            Ok(vnc) => upgrade(stream, head, vnc).await,
            Err(e) => {
                let status = if e.kind() == Kind::BadRequest {
                    "400 Bad Request"
                } else {
                    "403 Forbidden"
                };
                let words = if e.kind() == Kind::Internal {
                    "The console cannot be reached."
                } else {
                    e.message()
                };
                tracing::info!("novnc: refused: {}", e.log_message());
                pages::refuse(&mut stream, status, words).await
            }
        };
    }
    if !get && head.method != "HEAD" {
        return pages::refuse(
            &mut stream,
            "405 Method Not Allowed",
            "Only GET is served here.",
        )
        .await;
    }
    let page = pages::serve(
        &mut stream,
        Path::new(&nova.conf.novnc_web),
        &head.path,
        get,
    );
    within("a page", page).await
}

/// Checks origin and ticket and connects to the guest's screen. Until this succeeds not a byte is proxied.
async fn admit(nova: &Nova, head: &Head) -> Result<TcpStream> {
    if !matches!(head.path.as_str(), "/" | "/websockify") {
        return Err(Error::bad_request("There is no console here."));
    }
    if head.header("sec-websocket-key").is_none()
        || head.header("sec-websocket-version") != Some("13")
    {
        return Err(Error::bad_request("The WebSocket handshake is incomplete."));
    }
    check_origin(head)?;
    let denied = || Error::forbidden("The console's token is not valid.");
    let token = head
        .query
        .get("token")
        .filter(|t| !t.is_empty())
        .ok_or_else(denied)?;
    let ticket = tickets::find(nova, token)
        .await?
        .filter(|t| t.console_type == "novnc")
        .ok_or_else(denied)?;
    // Ports are used again: ask the host whether this one still shows the same guest.
    let id = ticket.instance_id.clone();
    let instance = nova
        .db
        .read(move |tx| instances::find(tx, &id))
        .await?
        .ok_or_else(denied)?;
    let host = instance.host.as_deref().ok_or_else(denied)?;
    let context = oslo_context::RequestContext::internal();
    let compute = nova.compute(host).timeout(SHORT);
    let address = compute.vnc_console(&context, instance.id.clone()).await?;
    if address.host != ticket.host || i64::from(address.port) != ticket.port {
        return Err(denied());
    }
    let stream = within("the guest's console", async {
        Ok(TcpStream::connect((address.host.as_str(), address.port)).await?)
    });
    let stream = stream.await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A browser's page from elsewhere must not open a console with a ticket it found.
fn check_origin(head: &Head) -> Result<()> {
    let Some(origin) = head.header("origin") else {
        return Ok(());
    };
    let name = |host: &str| {
        host.rsplit_once(':')
            .map_or(host, |(h, p)| if p.ends_with(']') { host } else { h })
            .to_ascii_lowercase()
    };
    let of_origin = origin.split_once("://").map(|(_, host)| name(host));
    let of_request = head.header("host").map(name);
    match (of_origin, of_request) {
        (Some(a), Some(b)) if a == b => Ok(()),
        _ => Err(Error::forbidden("Origin header does not match this host.")),
    }
}

async fn upgrade(mut stream: TcpStream, head: Head, vnc: TcpStream) -> Result<()> {
    let accept = derive_accept_key(head.header("sec-websocket-key").unwrap_or("").as_bytes());
    let mut reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if head.has_word("sec-websocket-protocol", "binary") {
        reply.push_str("Sec-WebSocket-Protocol: binary\r\n");
    }
    reply.push_str("\r\n");
    stream.write_all(reply.as_bytes()).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket =
        WebSocketStream::from_partially_read(stream, head.rest, Role::Server, Some(config)).await;
    relay(socket, vnc).await
}

/// Copies both ways until either side ends. Each read of the guest's socket becomes one frame.
async fn relay(socket: WebSocketStream<TcpStream>, vnc: TcpStream) -> Result<()> {
    let (mut sink, mut frames) = socket.split();
    let (mut from_vnc, mut to_vnc) = vnc.into_split();
    let outward = async {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let n = from_vnc.read(&mut buffer).await?;
            if n == 0 {
                break;
            }
            sink.send(Message::binary(buffer[..n].to_vec()))
                .await
                .map_err(Error::internal)?;
        }
        let _ = sink.send(Message::Close(None)).await;
        Ok::<(), Error>(())
    };
    let inward = async {
        loop {
            // The guest's screen may stand still for hours; a viewer that sends nothing at all is gone.
            let Ok(next) = tokio::time::timeout(IDLE, frames.next()).await else {
                break;
            };
            match next {
                Some(Ok(Message::Binary(bytes))) => to_vnc.write_all(&bytes).await?,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // VNC is bytes: text is from something else.
                None | Some(Ok(_) | Err(_)) => break,
            }
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        ended = outward => ended,
        ended = inward => ended,
    }
}
