//! noVNC's own pages, from a directory on the host.

use base::Result;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "mp3" => "audio/mpeg",
        "oga" => "audio/ogg",
        "ttf" => "font/ttf",
        "woff" => "font/woff",
        _ => "application/octet-stream",
    }
}

/// The regular file behind a path: plain names only, and nothing that a symbolic link leads out of `root`.
async fn resolve(root: &Path, path: &str) -> Option<PathBuf> {
    let mut file = root.to_path_buf();
    for name in path.split('/').filter(|s| !s.is_empty()) {
        if name.starts_with('.') || name.contains(['\\', '\0']) {
            return None;
        }
        file.push(name);
    }
    let (root, file) = (
        tokio::fs::canonicalize(root).await.ok()?,
        tokio::fs::canonicalize(file).await.ok()?,
    );
    let regular = tokio::fs::metadata(&file).await.ok()?.is_file();
    (regular && file.starts_with(&root)).then_some(file)
}

/// Answers a GET (or HEAD) for a page.
pub(super) async fn serve(
    stream: &mut (impl AsyncWrite + Unpin),
    root: &Path,
    path: &str,
    body: bool,
) -> Result<()> {
    let path = if path == "/" { "/vnc_lite.html" } else { path };
    let Some(file) = resolve(root, path).await else {
        return refuse(stream, "404 Not Found", "There is no such page.").await;
    };
    let mut opened = tokio::fs::File::open(&file).await?;
    let length = opened.metadata().await?.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {length}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        content_type(&file)
    );
    stream.write_all(head.as_bytes()).await?;
    if body {
        // Never more than was announced, should the file grow meanwhile.
        let mut announced = tokio::io::AsyncReadExt::take(&mut opened, length);
        tokio::io::copy(&mut announced, stream).await?;
    }
    stream.shutdown().await?;
    Ok(())
}

/// Answers with a refusal and closes.
pub(super) async fn refuse(
    stream: &mut (impl AsyncWrite + Unpin),
    status: &str,
    words: &str,
) -> Result<()> {
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}",
        words.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
