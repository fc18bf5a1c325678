//! `/qos-specs`: limits with a name, associated with volume types.

use crate::Cinder;
use crate::api::filters::PAGING_NAMES;
use crate::api::links;
use crate::db::qos_specs::Consumer;
use crate::db::{self, QosRow, TypeRow};
use crate::volume::invalid_input;
use base::{Error, Json, Result};
use oslo_db::{Tx, all, eq, is_duplicate, nothing, set};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("consumer", "consumer"),
    ("created_at", "created_at"),
]);

fn view(row: &QosRow) -> Value {
    json!({"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs.0})
}

fn shown(req: &Req, row: &QosRow) -> Value {
    json!({"qos_specs": view(row), "links": links(req, "qos-specs", &row.id)})
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("Invalid qos specs: {reason}"))
}

/// What a body says: the consumer apart, the rest as text.
fn parse(mut body: Object) -> Result<(Option<Consumer>, Object)> {
    let consumer = match body.shift_remove("consumer") {
        None | Some(Value::Null) => None,
        Some(word) => {
            let word = word.as_str().unwrap_or_default();
            let known = Consumer::parse(word).map_err(|_| {
                invalid("Valid consumer of QoS specs are: ['front-end', 'back-end', 'both']")
            })?;
            Some(known)
        }
    };
    for (key, value) in &body {
        if key.is_empty() || key.chars().count() > 255 {
            return Err(invalid_input(format!(
                "Key \"{key}\" must have 1 to 255 characters."
            )));
        }
        match value {
            Value::Null => {}
            Value::String(text) if text.chars().count() <= 255 => {}
            Value::String(_) => {
                return Err(invalid_input(format!(
                    "Value for key \"{key}\" has more than 255 characters."
                )));
            }
            _ => {
                return Err(invalid_input(format!(
                    "Value for key \"{key}\" is not a string or unicode"
                )));
            }
        }
    }
    Ok((consumer, body))
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let paging = parse_paging(&req.query, &PAGING)?;
    let mut conditions = Vec::new();
    for (name, value) in &req.query.0 {
        conditions.push(match name.as_str() {
            "id" => eq("id", value),
            "name" => eq("name", value),
            "consumer" => eq("consumer", value),
            other if PAGING_NAMES.contains(&other) => continue,
            // COMPAT: what is asked for by a word that is no attribute is not found.
            _ => nothing(),
        });
    }
    let page = cinder
        .db
        .read(move |tx| tx.page::<QosRow>(all(conditions.clone()), &paging))
        .await?;
    let mut body = json!({"qos_specs": page.items.iter().map(view).collect::<Vec<_>>()});
    if let Some(next) = next_link(&req, &page, |q| q.id.clone()) {
        body["qos_specs_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let mut body: Object = req.parse_key("qos_specs")?;
    let name = body.shift_remove("name").unwrap_or_default();
    let name = name.as_str().unwrap_or_default().trim().to_string();
    let (consumer, specs) = parse(body)?;
    let row = QosRow {
        id: base::new_id(),
        name: name.clone(),
        consumer: consumer.unwrap_or(Consumer::BackEnd),
        specs: Json(specs),
        created_at: cinder.clock.now(),
        updated_at: None,
    };
    let answer = shown(&req, &row);
    let inserted = cinder.db.write(move |tx| tx.insert(&row)).await;
    inserted.map_err(|e| match is_duplicate(&e) {
        true => Error::conflict(format!("QoS Specs {name} already exists.")),
        false => e,
    })?;
    Reply::ok(&answer)
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    let row = cinder
        .db
        .read(move |tx| db::qos_specs::get(tx, &id))
        .await?;
    Reply::ok(&shown(&req, &row))
}

/// Changes a specification under its lock.
async fn change(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut QosRow) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let (id, now) = (req.param("id").to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let mut row = db::qos_specs::lock(tx, &id)?;
            change(&mut row)?;
            let values = [
                set("consumer", row.consumer),
                set("specs", row.specs),
                set("updated_at", now),
            ];
            tx.update::<QosRow>(eq("id", &id), &values).map(drop)
        })
        .await
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("qos_specs")?;
    let (consumer, specs) = parse(body.clone())?;
    change(&cinder, &req, move |row| {
        row.consumer = consumer.unwrap_or(row.consumer);
        row.specs.0.extend(specs.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"qos_specs": body}))
}

pub async fn delete_keys(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let keys: Vec<String> = req.parse_key("keys")?;
    change(&cinder, &req, move |row| {
        for key in &keys {
            row.specs.0.shift_remove(key).ok_or_else(|| {
                Error::not_found(format!("QoS spec {} has no spec with key {key}.", row.id))
            })?;
        }
        Ok(())
    })
    .await?;
    Ok(Reply::empty(202))
}

fn disassociate_types(tx: &mut Tx, id: &str, type_id: Option<&str>) -> Result<()> {
    let of = type_id.map_or(oslo_db::everything(), |t| eq("id", t));
    let values = [set("qos_specs_id", None::<String>)];
    tx.update::<TypeRow>(all([eq("qos_specs_id", id), of]), &values)
        .map(drop)
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let force = match req.query.get("force") {
        None => false,
        Some(word) if is_true(word) => true,
        Some("0" | "f" | "false" | "False" | "FALSE" | "off" | "n" | "no") => false,
        Some(other) => {
            return Err(invalid_input(format!("Value '{other}' for 'force'.")));
        }
    };
    let id = req.param("id").to_string();
    cinder
        .db
        .write(move |tx| {
            db::qos_specs::lock(tx, &id)?;
            if force {
                disassociate_types(tx, &id, None)?;
            } else if tx.exists::<TypeRow>(eq("qos_specs_id", &id))? {
                return Err(Error::bad_request("Qos specs still in use."));
            }
            tx.delete::<QosRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(202))
}

pub async fn associations(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    let types = cinder
        .db
        .read(move |tx| {
            db::qos_specs::get(tx, &id)?;
            let sort = [("created_at", base::Dir::Asc), ("id", base::Dir::Asc)];
            tx.select_sorted::<TypeRow>(eq("qos_specs_id", &id), &sort, None)
        })
        .await?;
    let view = |t: &TypeRow| json!({"association_type": "volume_type", "name": t.name, "id": t.id});
    Reply::ok(&json!({"qos_associations": types.iter().map(view).collect::<Vec<_>>()}))
}

fn asked_type(req: &Req) -> Result<String> {
    let id = req.query.get("vol_type_id").filter(|id| !id.is_empty());
    id.map(str::to_string)
        .ok_or_else(|| Error::bad_request("Volume Type id must not be None."))
}

pub async fn associate(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (id, type_id) = (req.param("id").to_string(), asked_type(&req)?);
    cinder
        .db
        .write(move |tx| {
            db::qos_specs::lock(tx, &id)?;
            let kind = tx
                .find_for_update::<TypeRow>(eq("id", &type_id))?
                .ok_or_else(|| db::types::not_found(&type_id))?;
            if let Some(other) = kind.qos_specs_id.filter(|other| *other != id) {
                return Err(Error::bad_request(format!(
                    "Invalid volume type: Type {type_id} is already associated with another qos specs: {other}"
                )));
            }
            let values = [set("qos_specs_id", &id)];
            tx.update::<TypeRow>(eq("id", &type_id), &values).map(drop)
        })
        .await?;
    Ok(Reply::empty(202))
}

async fn forget(cinder: &Cinder, req: &Req, type_id: Option<String>) -> Result<Reply> {
    let id = req.param("id").to_string();
    cinder
        .db
        .write(move |tx| {
            db::qos_specs::lock(tx, &id)?;
            if let Some(type_id) = &type_id
                && !tx.exists::<TypeRow>(eq("id", type_id))?
            {
                return Err(db::types::not_found(type_id));
            }
            disassociate_types(tx, &id, type_id.as_deref())
        })
        .await?;
    Ok(Reply::empty(202))
}

pub async fn disassociate(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let type_id = asked_type(&req)?;
    forget(&cinder, &req, Some(type_id)).await
}

pub async fn disassociate_all(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    forget(&cinder, &req, None).await
}
