//! `/types/{type_id}/encryption` and `/volumes/{volume_id}/encryption`.

use crate::Cinder;
use crate::api::time;
use crate::db::encryptions::{self, ControlLocation, EncryptionRow};
use crate::db::{self, TypeRow};
use base::{Error, Result};
use oslo_db::{Tx, eq, is_duplicate, set};
use oslo_http::{Reply, Req};
use oslo_policy::Target;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_string)
}

/// The body's specification; `key_size` is a number, whatever it was written as.
fn body(req: &Req) -> Result<Object> {
    let mut body: Object = req.parse_key("encryption")?;
    if let Some(Value::String(size)) = body.get("key_size") {
        let size: i64 = size
            .trim()
            .parse()
            .ok()
            .filter(|n| (0..=i64::from(i32::MAX)).contains(n))
            .ok_or_else(|| {
                Error::bad_request("Invalid input for field/attribute key_size: not an integer.")
            })?;
        body.insert("key_size".into(), json!(size));
    }
    Ok(body)
}

fn view(row: &EncryptionRow) -> Object {
    let view = json!({
        "volume_type_id": row.volume_type_id,
        "control_location": row.control_location,
        "deleted": false,
        "created_at": time(Some(row.created_at)),
        "updated_at": time(row.updated_at),
        "encryption_id": row.id,
        "key_size": row.key_size,
        "provider": row.provider,
        "deleted_at": null,
        "cipher": row.cipher,
    });
    view.as_object().cloned().unwrap_or_default()
}

fn no_encryption(type_id: &str) -> Error {
    Error::not_found(format!(
        "Volume type encryption for type {type_id} does not exist."
    ))
}

fn exists(type_id: &str) -> Error {
    Error::bad_request(format!(
        "Volume type encryption for type {type_id} already exists."
    ))
}

fn require_type(tx: &mut Tx, type_id: &str) -> Result<()> {
    if tx.exists::<TypeRow>(eq("id", type_id))? {
        return Ok(());
    }
    Err(db::types::not_found(type_id))
}

fn require_unused(tx: &mut Tx, type_id: &str, verb: &str) -> Result<()> {
    if encryptions::in_use(tx, type_id)? {
        return Err(Error::bad_request(format!(
            "Cannot {verb} encryption specs. Volume type in use."
        )));
    }
    Ok(())
}

async fn get(cinder: &Cinder, req: &Req) -> Result<Option<EncryptionRow>> {
    let type_id = req.param("type_id").to_string();
    cinder
        .db
        .read(move |tx| {
            require_type(tx, &type_id)?;
            encryptions::of_type(tx, &type_id)
        })
        .await
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req).await?;
    Reply::ok(&row.as_ref().map(view).unwrap_or_default())
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req).await?;
    let shown = row.as_ref().map(view).unwrap_or_default();
    let key = req.param("id");
    match shown.get(key) {
        Some(value) => Reply::ok(&json!({key: value})),
        None => Err(no_encryption(req.param("type_id"))),
    }
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let mut body = body(&req)?;
    let type_id = req.param("type_id").to_string();
    let row = EncryptionRow {
        volume_type_id: type_id.clone(),
        id: base::new_id(),
        provider: text(&body, "provider").unwrap_or_default(),
        control_location: ControlLocation::parse(
            &text(&body, "control_location").unwrap_or_default(),
        )?,
        cipher: text(&body, "cipher"),
        key_size: body.get("key_size").and_then(Value::as_i64),
        created_at: cinder.clock.now(),
        updated_at: None,
    };
    body.insert("volume_type_id".into(), json!(type_id));
    body.insert("encryption_id".into(), json!(row.id));
    let id = type_id.clone();
    let made = cinder
        .db
        .write(move |tx| {
            require_type(tx, &id)?;
            require_unused(tx, &id, "create")?;
            tx.insert(&row)
        })
        .await;
    made.map_err(|e| {
        if is_duplicate(&e) {
            exists(&type_id)
        } else {
            e
        }
    })?;
    Reply::ok(&json!({"encryption": body}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body = body(&req)?;
    let mut values = vec![set("updated_at", cinder.clock.now())];
    if let Some(provider) = text(&body, "provider") {
        values.push(set("provider", provider));
    }
    if let Some(place) = text(&body, "control_location") {
        values.push(set("control_location", ControlLocation::parse(&place)?));
    }
    if body.contains_key("cipher") {
        values.push(set("cipher", text(&body, "cipher")));
    }
    if let Some(size) = body.get("key_size") {
        values.push(set("key_size", size.as_i64()));
    }
    let type_id = req.param("type_id").to_string();
    cinder
        .db
        .write(move |tx| {
            require_type(tx, &type_id)?;
            require_unused(tx, &type_id, "update")?;
            match tx.update::<EncryptionRow>(eq("volume_type_id", &type_id), &values)? {
                0 => Err(no_encryption(&type_id)),
                _ => Ok(()),
            }
        })
        .await?;
    Reply::ok(&json!({"encryption": body}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let type_id = req.param("type_id").to_string();
    cinder
        .db
        .write(move |tx| {
            require_unused(tx, &type_id, "delete")?;
            match tx.delete::<EncryptionRow>(eq("volume_type_id", &type_id))? {
                0 => Err(no_encryption(&type_id)),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(Reply::empty(202))
}

/// What whoever attaches a volume must know of its encryption. No volume has a key here (see
/// [`encryptions::refuse_encrypted`]).
async fn of_volume(cinder: &Cinder, req: &Req) -> Result<Object> {
    let (ctx, id) = (req.ctx.clone(), req.param("volume_id").to_string());
    let (volume, row) = cinder
        .db
        .read(move |tx| {
            let volume = db::volumes::get(tx, &ctx, &id)?;
            let row = encryptions::of_type(tx, &volume.volume_type_id)?;
            Ok((volume, row))
        })
        .await?;
    let target = Target::owned(&volume.project_id, &volume.user_id);
    req.enforce("volume_extension:volume_encryption_metadata", &target)?;
    let mut out = Object::new();
    out.insert("encryption_key_id".into(), Value::Null);
    if let Some(row) = row {
        let mut rest = view(&row);
        rest.retain(|key, _| {
            matches!(
                key.as_str(),
                "control_location" | "cipher" | "key_size" | "provider"
            )
        });
        out.extend(rest);
    }
    Ok(out)
}

pub async fn volume_list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    Reply::ok(&of_volume(&cinder, &req).await?)
}

pub async fn volume_show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let all = of_volume(&cinder, &req).await?;
    let key = req.param("id");
    let value = all
        .get(key)
        .ok_or_else(|| Error::not_found("The resource could not be found."))?;
    // COMPAT: the bare value, not JSON.
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(Reply::empty(200)
        .header("content-type", "text/html; charset=UTF-8")
        .with_body(text))
}
