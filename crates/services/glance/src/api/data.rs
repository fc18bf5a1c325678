//! The bytes of an image, up and down.

use crate::Glance;
use crate::db::images::{Image, get};
use crate::signature::Signature;
use crate::upload;
use base::{Error, Kind, Result};
use futures::StreamExt;
use glance_types::ImageStatus;
use oslo_http::{Body, Reply, Req};
use sdk::fetch;
use std::cmp::Reverse;
use std::sync::Arc;

fn octets(req: &Req) -> Result<()> {
    let content_type = req.header("content-type").unwrap_or_default();
    if content_type.split(';').next().unwrap_or("").trim() == "application/octet-stream" {
        return Ok(());
    }
    Err(Error::new(
        Kind::UnsupportedMediaType,
        "Unsupported Content-Type: image data is application/octet-stream.",
    ))
}

pub async fn upload(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    octets(&req)?;
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("upload_image", &image.target())?;
    if image.row.disk_format.is_none() || image.row.container_format.is_none() {
        return Err(Error::bad_request(
            "Properties disk_format and container_format must be set prior to saving data.",
        ));
    }
    let signature = Signature::of(&glance, &req.ctx, &image).await?;
    let store = match req.header("x-image-meta-store") {
        Some(named) => glance.stores.chosen(named)?.id.clone(),
        None => glance.stores.default().id.clone(),
    };
    upload::receive(&glance, &image.row, req.stream, &store, signature).await?;
    tracing::info!(image.id = %image.row.id, "image data stored");
    Ok(Reply::empty(204))
}

/// Takes the data of an image that shall be imported.
pub async fn stage(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    octets(&req)?;
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    // COMPAT: upstream has no rule for staging; who may change the image may.
    req.enforce("modify_image", &image.target())?;
    upload::stage(&glance, &image.row, req.stream).await?;
    tracing::info!(image.id = %image.row.id, "image data staged");
    Ok(Reply::empty(204))
}

/// What part of a file is asked for.
#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Part(u64, u64),
}

/// One range of `bytes=`; several are a 400, one beyond the end is a 416.
fn range(header: Option<&str>, size: u64) -> Result<Wanted> {
    let Some(spec) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Ok(Wanted::All);
    };
    if spec.contains(',') {
        return Err(Error::bad_request(
            "Requests with multiple ranges are not supported in Glance.",
        ));
    }
    let unsatisfiable = || {
        Error::new(
            Kind::RangeNotSatisfiable,
            format!("The range {spec} is not within 0-{size}."),
        )
    };
    let bad = || Error::bad_request(format!("Invalid range: {spec}"));
    let (first, last) = spec.split_once('-').ok_or_else(bad)?;
    if first.is_empty() {
        let tail: u64 = last.parse().map_err(|_| bad())?;
        if tail == 0 || size == 0 {
            return Err(unsatisfiable());
        }
        return Ok(Wanted::Part(size.saturating_sub(tail), size - 1));
    }
    let first: u64 = first.parse().map_err(|_| bad())?;
    let last: u64 = if last.is_empty() {
        u64::MAX
    } else {
        last.parse().map_err(|_| bad())?
    };
    if first >= size || last < first {
        return Err(unsatisfiable());
    }
    Ok(Wanted::Part(first, last.min(size - 1)))
}

pub async fn download(glance: Arc<Glance>, req: Req) -> Result<Reply> {
    let (ctx, id) = (Arc::clone(&req.ctx), req.param("image_id").to_string());
    let image = glance.db.read(move |tx| get(tx, &ctx, &id)).await?;
    req.enforce("download_image", &image.target())?;
    let row = &image.row;
    if row.status == ImageStatus::Deactivated && !req.ctx.is_admin {
        return Err(Error::forbidden(
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    let Some(size) = row.size else {
        return Ok(Reply::empty(204));
    };
    let size = size as u64;
    let (status, first, length) = match range(req.header("range"), size)? {
        Wanted::All => (200, 0, size),
        Wanted::Part(first, last) => (206, first, last - first + 1),
    };
    let cached = match &glance.cache {
        Some(cache) => cache.read(&glance, &row.id, first, length).await?,
        None => None,
    };
    let body = match (cached, &glance.cache) {
        (Some(body), _) => body,
        (None, cache) => match (open(&glance, &image, first, length).await?, cache) {
            (Some(body), Some(cache)) if status == 200 => cache.tee(&glance, row, body).await,
            (Some(body), _) => body,
            (None, _) => return Ok(Reply::empty(204)),
        },
    };
    let mut reply = Reply::empty(status)
        .header("content-type", "application/octet-stream")
        .header("accept-ranges", "bytes")
        .with_body(body);
    if status == 206 {
        let range = format!("bytes {first}-{}/{size}", first + length - 1);
        reply = reply.header("content-range", range);
    } else if let Some(checksum) = &row.checksum {
        // COMPAT: hex, where RFC 1864 says base64; glanceclient compares hex.
        reply = reply.header("content-md5", checksum);
    }
    Ok(reply)
}

/// Bytes of an image from the copy in the store of most weight; from the next one, if that cannot be reached.
pub async fn open(glance: &Glance, image: &Image, first: u64, length: u64) -> Result<Option<Body>> {
    let copies = image.locations.iter();
    let mut copies: Vec<_> = copies
        .filter_map(|copy| Some((glance.stores.find(&copy.store)?, copy)))
        .collect();
    copies.sort_by_key(|(store, _)| Reverse(store.weight));
    let mut unreachable = None;
    for (store, copy) in copies {
        let body = match (store.writable(), &copy.file, &copy.url) {
            (Ok(store), Some(file), _) => store.read(file, first, length).await,
            (Err(_), _, Some(url)) => fetch(url, &glance.web)
                .await
                .map(|body| part(body, first, length)),
            _ => continue,
        };
        match body {
            Ok(body) => return Ok(Some(body)),
            Err(e) => {
                tracing::warn!(image.id = %image.row.id, store = store.id, "a copy cannot be read: {e:?}");
                unreachable.get_or_insert(e);
            }
        }
    }
    unreachable.map_or(Ok(None), Err)
}

/// Bytes `from .. from + length` of what comes from the web.
fn part(body: Body, from: u64, length: u64) -> Body {
    let mut before = from;
    let mut left = length;
    let pieces = body.into_stream().map(move |piece| {
        let mut piece = piece?;
        let skipped = before.min(piece.len() as u64);
        before -= skipped;
        piece = piece.slice(skipped as usize..);
        piece.truncate(left.min(piece.len() as u64) as usize);
        left -= piece.len() as u64;
        Ok(piece)
    });
    Body::stream(pieces, Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let ok = |h, wanted| assert_eq!(range(Some(h), 100).unwrap(), wanted, "{h}");
        ok("bytes=0-9", Wanted::Part(0, 9));
        ok("bytes=90-", Wanted::Part(90, 99));
        ok("bytes=90-500", Wanted::Part(90, 99));
        ok("bytes=-10", Wanted::Part(90, 99));
        ok("bytes=-500", Wanted::Part(0, 99));
        ok("lines=1-2", Wanted::All);
        let bad = |h, kind| assert_eq!(range(Some(h), 100).unwrap_err().kind(), kind, "{h}");
        bad("bytes=100-", Kind::RangeNotSatisfiable);
        bad("bytes=9-3", Kind::RangeNotSatisfiable);
        bad("bytes=-0", Kind::RangeNotSatisfiable);
        bad("bytes=0-1,5-6", Kind::BadRequest);
        bad("bytes=a-b", Kind::BadRequest);
    }
}
