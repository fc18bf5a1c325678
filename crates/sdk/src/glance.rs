//! The image service, as compute agents and block storage need it.

use crate::client::{Caller, Sdk};
use base::{Error, Kind, Result};
use futures::StreamExt;
use glance_types::Image;
use http::Method;
use oslo_http::{Body, percent_encode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// The image service's typed client, from [`Sdk::glance`].
pub struct GlanceClient {
    sdk: Sdk,
}

impl Sdk {
    /// The image service.
    pub fn glance(&self) -> GlanceClient {
        GlanceClient { sdk: self.clone() }
    }
}

fn path(id: &str) -> String {
    format!("/v2/images/{}", percent_encode(id))
}

impl GlanceClient {
    /// An image; 404 if this caller may not know of it.
    pub async fn image(&self, caller: Caller<'_>, id: &str) -> Result<Image> {
        self.sdk
            .request(caller, "image", Method::GET, &path(id), None)
            .await?
            .json()
    }

    /// Images by a query string without `?` (`name=x&status=active`), one page.
    pub async fn images(&self, caller: Caller<'_>, query: &str) -> Result<Vec<Image>> {
        let path = format!("/v2/images?{query}");
        self.sdk
            .request(caller, "image", Method::GET, &path, None)
            .await?
            .key("images")
    }

    /// The data of an active image, as a stream with its length.
    pub async fn download(&self, caller: Caller<'_>, id: &str) -> Result<Body> {
        let (_, body) = self
            .sdk
            .stream(caller, "image", &format!("{}/file", path(id)))
            .await?;
        if body.length() == Some(0) {
            return Err(Error::new(
                Kind::Conflict,
                format!("Image {id} has no data."),
            ));
        }
        Ok(body)
    }

    /// Writes the data of an active image into a file, piece by piece; an error if it breaks off.
    pub async fn download_to(
        &self,
        caller: Caller<'_>,
        id: &str,
        mut file: tokio::fs::File,
    ) -> Result<()> {
        let broken = || Error::unavailable(format!("The image {id} broke off."));
        let body = self.download(caller, id).await?;
        let promised = body.length();
        let mut pieces = body.into_stream();
        let mut written = 0u64;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| broken().log(e))?;
            written += piece.len() as u64;
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        if promised.is_some_and(|p| p != written) {
            return Err(broken());
        }
        Ok(())
    }

    /// A new record, `queued` (snapshots, volumes to images). `attributes` is the API's own free-form object.
    pub async fn create(&self, caller: Caller<'_>, attributes: Value) -> Result<Image> {
        let answer = self
            .sdk
            .request(
                caller,
                "image",
                Method::POST,
                "/v2/images",
                Some(attributes),
            )
            .await?;
        answer.json()
    }

    /// The data of a queued image; it is `active` when this returns.
    pub async fn upload(&self, caller: Caller<'_>, id: &str, body: Body) -> Result<()> {
        let file = format!("{}/file", path(id));
        let kind = "application/octet-stream";
        self.sdk
            .upload(caller, "image", Method::PUT, &file, body, kind)
            .await
            .map(drop)
    }

    /// Sets attributes or properties, adding those that are missing.
    pub async fn update(
        &self,
        caller: Caller<'_>,
        id: &str,
        values: &[(&str, Value)],
    ) -> Result<Image> {
        let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
        let op = |(name, value): &(&str, Value)| json!({"op": "add", "path": format!("/{}", escape(name)), "value": value});
        let patch = Value::Array(values.iter().map(op).collect()).to_string();
        let kind = "application/openstack-images-v2.1-json-patch";
        let body = Body::from(patch);
        self.sdk
            .upload(caller, "image", Method::PATCH, &path(id), body, kind)
            .await?
            .json()
    }

    /// Deletes an image; one that is not there is fine.
    pub async fn delete(&self, caller: Caller<'_>, id: &str) -> Result<()> {
        match self
            .sdk
            .request(caller, "image", Method::DELETE, &path(id), None)
            .await
        {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
