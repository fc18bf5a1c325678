//! `/types`: volume types, their extra specs and access to private ones.

use crate::Cinder;
use crate::api::views;
use crate::db::default_types::{self, DefaultTypeRow};
use crate::db::encryptions::EncryptionRow;
use crate::db::types::not_found;
use crate::db::{self, TypeAccessRow, TypeRow, VolumeRow};
use base::{Error, Json, Result};
use oslo_db::{Tx, all, eq, everything, is_duplicate, set};
use oslo_http::{PagingRules, Reply, Req, next_link, parse_paging};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

const PAGING: PagingRules = PagingRules::new(&[
    ("id", "id"),
    ("name", "name"),
    ("created_at", "created_at"),
    ("is_public", "is_public"),
]);

fn text(object: &Object, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_string)
}

fn flag(value: &Value) -> bool {
    value == true || value.as_str().is_some_and(oslo_http::is_true)
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let paging = parse_paging(&req.query, &PAGING)?;
    let ctx = req.ctx.clone();
    // Only an administrator sees private types of others, and may ask for one kind.
    let public = match req.query.get("is_public") {
        _ if !ctx.is_admin => Some(true),
        None => Some(true),
        Some(word) if word.eq_ignore_ascii_case("none") => None,
        Some(word) => Some(oslo_http::is_true(word)),
    };
    let page = cinder
        .db
        .read(move |tx| {
            let mut cond = match public {
                Some(flag) => eq("is_public", flag),
                None => everything(),
            };
            if !ctx.is_admin {
                let access = tx.select::<TypeAccessRow>(eq("project_id", ctx.project()))?;
                let ids = access.iter().map(|a| &a.volume_type_id);
                cond = oslo_db::any([cond, oslo_db::is_in("id", ids)]);
            }
            tx.page::<TypeRow>(cond, &paging)
        })
        .await?;
    let types: Vec<Value> = page
        .items
        .iter()
        .map(|row| views::volume_type(&req, row, true, true))
        .collect();
    let mut body = json!({"volume_types": types});
    if let Some(next) = next_link(&req, &page, |t| t.id.clone()) {
        body["volume_type_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

async fn get(cinder: &Cinder, req: &Req, param: &str) -> Result<TypeRow> {
    let (ctx, id) = (req.ctx.clone(), req.param(param).to_string());
    let default = cinder.conf.default_volume_type.clone();
    cinder
        .db
        .read(move |tx| match id.as_str() {
            "default" => {
                let id = default_types::of_project(tx, ctx.project(), &default)?;
                db::types::get_by_any(tx, &ctx, &id)
            }
            id => db::types::get(tx, &ctx, id),
        })
        .await
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "id").await?;
    Reply::ok(&json!({"volume_type": views::volume_type(&req, &row, true, true)}))
}

fn exists(name: &str) -> Error {
    Error::conflict(format!("Volume Type {name} already exists."))
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("volume_type")?;
    let name = text(&body, "name").unwrap_or_default().trim().to_string();
    let specs = body.get("extra_specs").and_then(Value::as_object).cloned();
    let row = TypeRow {
        id: base::new_id(),
        name: name.clone(),
        description: text(&body, "description"),
        is_public: body.get("os-volume-type-access:is_public").is_none_or(flag),
        extra_specs: Json(specs.unwrap_or_default()),
        created_at: cinder.clock.now(),
        updated_at: None,
        qos_specs_id: None,
    };
    let view = views::volume_type(&req, &row, true, false);
    let inserted = cinder.db.write(move |tx| tx.insert(&row)).await;
    inserted.map_err(|e| if is_duplicate(&e) { exists(&name) } else { e })?;
    Reply::ok(&json!({"volume_type": view}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("volume_type")?;
    let mut values = vec![set("updated_at", cinder.clock.now())];
    let name = text(&body, "name").map(|n| n.trim().to_string());
    if name.as_deref() == Some("") {
        return Err(Error::bad_request("Volume type name can not be empty."));
    }
    if let Some(name) = &name {
        values.push(set("name", name));
    }
    if body.contains_key("description") {
        values.push(set("description", text(&body, "description")));
    }
    if let Some(public) = body.get("is_public").filter(|v| !v.is_null()) {
        values.push(set("is_public", flag(public)));
    }
    if values.len() == 1 {
        return Err(Error::bad_request(
            "Specify volume type name, description, is_public or a combination thereof.",
        ));
    }
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let changed = cinder
        .db
        .write(move |tx| {
            db::types::get(tx, &ctx, &id)?;
            tx.update::<TypeRow>(eq("id", &id), &values)?;
            db::types::get(tx, &ctx, &id)
        })
        .await;
    let name = name.unwrap_or_default();
    let row = changed.map_err(|e| if is_duplicate(&e) { exists(&name) } else { e })?;
    Reply::ok(&json!({"volume_type": views::volume_type(&req, &row, false, false)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let default = cinder.conf.default_volume_type.clone();
    cinder
        .db
        .write(move |tx| {
            let row = db::types::get(tx, &ctx, &id)?;
            let of_project = tx.exists::<DefaultTypeRow>(eq("volume_type_id", &id))?;
            if row.name == default || of_project {
                return Err(Error::bad_request(format!(
                    "The volume type {id} is a default volume type and cannot be deleted."
                )));
            }
            if tx.exists::<VolumeRow>(eq("volume_type_id", &id))? {
                return Err(Error::bad_request("Target volume type is still in use."));
            }
            tx.delete::<TypeAccessRow>(eq("volume_type_id", &id))?;
            tx.delete::<EncryptionRow>(eq("volume_type_id", &id))?;
            tx.delete::<TypeRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(202))
}

/// The private type that an access verb is about.
fn private(tx: &mut Tx, ctx: &oslo_context::RequestContext, id: &str) -> Result<TypeRow> {
    let row = db::types::get(tx, ctx, id)?;
    if row.is_public {
        return Err(Error::bad_request(
            "Type access modification is not applicable to public volume type.",
        ));
    }
    Ok(row)
}

pub async fn list_access(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (ctx, id) = (req.ctx.clone(), req.param("type_id").to_string());
    let rows = cinder
        .db
        .read(move |tx| {
            let row = db::types::get(tx, &ctx, &id)?;
            if row.is_public {
                return Err(Error::not_found(
                    "Access list not available for public volume types.",
                ));
            }
            tx.select::<TypeAccessRow>(eq("volume_type_id", &id))
        })
        .await?;
    let view =
        |r: &TypeAccessRow| json!({"volume_type_id": r.volume_type_id, "project_id": r.project_id});
    Reply::ok(&json!({"volume_type_access": rows.iter().map(view).collect::<Vec<_>>()}))
}

pub async fn add_access(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("addProjectAccess")?;
    let project = text(&body, "project").unwrap_or_default();
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let words = format!("Volume type access for {id} / {project} combination already exists.");
    let added = cinder
        .db
        .write(move |tx| {
            private(tx, &ctx, &id)?;
            tx.insert(&TypeAccessRow {
                volume_type_id: id.clone(),
                project_id: project.clone(),
            })
        })
        .await;
    added.map_err(|e| {
        if is_duplicate(&e) {
            Error::conflict(words)
        } else {
            e
        }
    })?;
    Ok(Reply::empty(202))
}

pub async fn remove_access(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("removeProjectAccess")?;
    let project = text(&body, "project").unwrap_or_default();
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    cinder
        .db
        .write(move |tx| {
            private(tx, &ctx, &id)?;
            let cond = all([eq("volume_type_id", &id), eq("project_id", &project)]);
            if tx.delete::<TypeAccessRow>(cond)? > 0 {
                return Ok(());
            }
            Err(Error::not_found(format!(
                "Volume type access not found for {id} / {project} combination."
            )))
        })
        .await?;
    Ok(Reply::empty(202))
}

fn no_such_spec(id: &str, key: &str) -> Error {
    Error::not_found(format!(
        "Volume Type {id} has no extra specs with key {key}."
    ))
}

async fn change_specs(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut Object) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let (id, now) = (req.param("type_id").to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let found = tx.find::<TypeRow>(eq("id", &id))?;
            let mut specs = found.ok_or_else(|| not_found(&id))?.extra_specs.0;
            change(&mut specs)?;
            let values = [set("extra_specs", Json(specs)), set("updated_at", now)];
            tx.update::<TypeRow>(eq("id", &id), &values).map(drop)
        })
        .await
}

pub async fn list_specs(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "type_id").await?;
    Reply::ok(&json!({"extra_specs": views::extra_specs(&req, &row)}))
}

pub async fn create_specs(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Object = req.parse_key("extra_specs")?;
    let sent = new.clone();
    change_specs(&cinder, &req, move |specs| {
        specs.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&json!({"extra_specs": sent}))
}

pub async fn show_spec(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "type_id").await?;
    let (specs, key) = (views::extra_specs(&req, &row), req.param("id"));
    match specs.get(key) {
        Some(value) => Reply::ok(&json!({key: value})),
        None => Err(no_such_spec(&row.id, key)),
    }
}

pub async fn update_spec(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Object = req.parse()?;
    let key = req.param("id").to_string();
    let Some(value) = new.get(&key).filter(|_| new.len() == 1).cloned() else {
        return Err(Error::bad_request("Request body and URI mismatch."));
    };
    change_specs(&cinder, &req, move |specs| {
        specs.insert(key.clone(), value.clone());
        Ok(())
    })
    .await?;
    Reply::ok(&new)
}

pub async fn delete_spec(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let (id, key) = (
        req.param("type_id").to_string(),
        req.param("id").to_string(),
    );
    change_specs(&cinder, &req, move |specs| {
        let gone = specs.shift_remove(&key);
        gone.map(drop).ok_or_else(|| no_such_spec(&id, &key))
    })
    .await?;
    Ok(Reply::empty(202))
}
