//! `/v3/OS-OAUTH1/consumers`: programs that users may let act for them. A secret is told once.

use crate::Keystone;
use crate::api::credentials::seal;
use crate::api::fields::{Fields, MALFORMED};
use crate::api::list::collection;
use crate::api::{base_url, one, self_link, with_extra};
use crate::db::oauth1::{self, ConsumerRow};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{eq, everything, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

fn view(base: &str, c: &ConsumerRow) -> Value {
    let view = json!({
        "id": c.id,
        "description": c.description,
        "links": self_link(base, &format!("OS-OAUTH1/consumers/{}", c.id)),
    });
    with_extra(view, &c.extra.0)
}

/// `GET /v3/OS-OAUTH1/consumers`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_consumers", Target::new())?;
    let rows = keystone
        .db
        .read(|tx| tx.select_sorted::<ConsumerRow>(everything(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|c| view(&base, c)).collect();
    collection(&base, &req, "consumers", views, None)
}

/// `GET /v3/OS-OAUTH1/consumers/{consumer_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_consumer", Target::new())?;
    let id = req.param("consumer_id").to_string();
    let row = keystone
        .db
        .read(move |tx| oauth1::get_consumer(tx, &id))
        .await?;
    one(200, "consumer", view(&base_url(&keystone, &req), &row))
}

/// `POST /v3/OS-OAUTH1/consumers`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_consumer", Target::new())?;
    let mut fields = Fields::of(&req, "consumer")?;
    // The cloud makes it up; one that was sent is not kept anywhere.
    fields.take("secret");
    let secret = new_hex_id();
    let row = ConsumerRow {
        id: new_hex_id(),
        description: fields.text("description")?,
        encrypted_secret: seal(&keystone, &secret)?,
        extra: Json(fields.rest()),
    };
    let new = row.clone();
    keystone.write(move |tx| tx.insert(&new)).await?;
    tracing::info!(consumer.id = row.id, "consumer created");
    let mut view = view(&base_url(&keystone, &req), &row);
    view["secret"] = secret.into();
    one(201, "consumer", view)
}

/// `PATCH /v3/OS-OAUTH1/consumers/{consumer_id}`
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_consumer", Target::new())?;
    let id = req.param("consumer_id").to_string();
    let fields = Fields::of(&req, "consumer")?;
    if fields.all().is_empty() {
        return Err(Error::bad_request("{} should be non-empty"));
    }
    if fields.all().contains_key("secret") {
        return Err(Error::bad_request(format!(
            "The secret of a consumer cannot be changed. {MALFORMED}"
        )));
    }
    if fields
        .all()
        .get("id")
        .is_some_and(|sent| sent.as_str() != Some(&id))
    {
        return Err(Error::bad_request("Cannot change consumer ID"));
    }
    let row = keystone
        .write(move |tx| {
            let mut row = oauth1::get_consumer(tx, &id)?;
            let mut fields = fields.clone();
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            row.extra.0.extend(fields.rest());
            let values = [
                set("description", &row.description),
                set("extra", &row.extra),
            ];
            tx.update::<ConsumerRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(200, "consumer", view(&base_url(&keystone, &req), &row))
}

/// `DELETE /v3/OS-OAUTH1/consumers/{consumer_id}`: whatever users let it do is over, tokens included.
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_consumer", Target::new())?;
    let id = req.param("consumer_id").to_string();
    keystone
        .write(move |tx| oauth1::delete_consumer(tx, &id))
        .await?;
    Ok(Reply::empty(204))
}
