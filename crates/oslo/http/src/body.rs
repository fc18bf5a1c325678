//! Bodies, in both directions: bytes when small, a stream when not.

use base::{Error, Kind, Result};
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use sync_wrapper::SyncStream;

/// The body of a request or a reply.
#[derive(Default)]
pub enum Body {
    /// Nothing at all.
    #[default]
    Empty,
    /// All of it, in memory.
    Bytes(Bytes),
    /// As it comes. The number is the length in bytes, where known.
    Stream(
        SyncStream<BoxStream<'static, std::io::Result<Bytes>>>,
        Option<u64>,
    ),
}

impl Body {
    /// A body that comes piece by piece; `length` where known makes `Content-Length`.
    pub fn stream(
        stream: impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Body {
        Body::Stream(SyncStream::new(stream.boxed()), length)
    }

    /// Length in bytes, where known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Bytes(b) => Some(b.len() as u64),
            Body::Stream(_, n) => *n,
        }
    }

    /// All of it, if it is at most `limit` bytes; 413 otherwise, 400 if the sender broke off.
    pub async fn collect(self, limit: usize) -> Result<Bytes> {
        let too_large = || Error::new(Kind::TooLarge, "Request is too large.");
        match self {
            Body::Empty => Ok(Bytes::new()),
            Body::Bytes(b) if b.len() > limit => Err(too_large()),
            Body::Bytes(b) => Ok(b),
            Body::Stream(mut stream, length) => {
                if length.is_some_and(|n| n > limit as u64) {
                    return Err(too_large());
                }
                let mut all = BytesMut::new();
                while let Some(piece) = stream.next().await {
                    let piece = piece.map_err(|e| {
                        Error::bad_request("The request body could not be read.").log(e)
                    })?;
                    if all.len() + piece.len() > limit {
                        return Err(too_large());
                    }
                    all.extend_from_slice(&piece);
                }
                Ok(all.freeze())
            }
        }
    }

    /// As a stream, whatever it is.
    pub fn into_stream(self) -> BoxStream<'static, std::io::Result<Bytes>> {
        match self {
            Body::Empty => futures::stream::empty().boxed(),
            Body::Bytes(b) => futures::stream::once(async move { Ok(b) }).boxed(),
            Body::Stream(s, _) => s.into_inner(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(b: Bytes) -> Body {
        if b.is_empty() {
            Body::Empty
        } else {
            Body::Bytes(b)
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(b: Vec<u8>) -> Body {
        Bytes::from(b).into()
    }
}

impl From<String> for Body {
    fn from(b: String) -> Body {
        Bytes::from(b).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Bytes(b) => {
                let b = std::mem::take(b);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(http_body::Frame::data(b))))
            }
            Body::Stream(s, _) => s
                .poll_next_unpin(cx)
                .map(|o| o.map(|r| r.map(http_body::Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Empty)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.length() {
            Some(n) => http_body::SizeHint::with_exact(n),
            None => http_body::SizeHint::default(),
        }
    }
}
