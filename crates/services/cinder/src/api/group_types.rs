//! `/group_types` and their specs.

use crate::Cinder;
use crate::db::group_types::{self, GroupTypeRow};
use base::{Error, Json, Result};
use oslo_db::{all, eq, everything, is_duplicate, set};
use oslo_http::{PagingRules, Reply, Req, is_true, next_link, parse_paging};
use oslo_policy::Target;
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
    value == true || value.as_str().is_some_and(is_true)
}

fn view(req: &Req, row: &GroupTypeRow) -> Value {
    let mut out = json!({"id": row.id, "name": row.name, "description": row.description,
        "is_public": row.is_public});
    let own = Target::project(req.ctx.project());
    if req.permits("group:access_group_types_specs", &own) {
        out["group_specs"] = json!(row.group_specs.0);
    }
    out
}

fn exists(name: &str) -> Error {
    Error::conflict(format!("Group Type {name} already exists."))
}

pub async fn list(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let paging = parse_paging(&req.query, &PAGING)?;
    // Only an administrator sees private types, and may ask for one kind.
    let public = match req.query.get("is_public") {
        Some(word) if req.ctx.is_admin && word.eq_ignore_ascii_case("none") => everything(),
        Some(word) if req.ctx.is_admin => eq("is_public", is_true(word)),
        _ => eq("is_public", true),
    };
    let cond = all([group_types::scope(&req.ctx), public]);
    let page = cinder
        .db
        .read(move |tx| tx.page::<GroupTypeRow>(cond.clone(), &paging))
        .await?;
    let views: Vec<Value> = page.items.iter().map(|t| view(&req, t)).collect();
    let mut body = json!({"group_types": views});
    if let Some(next) = next_link(&req, &page, |t| t.id.clone()) {
        body["group_type_links"] = json!([{"rel": "next", "href": next}]);
    }
    Reply::ok(&body)
}

/// The type of the path; `default` is the one that the operator named.
async fn get(cinder: &Cinder, req: &Req, param: &str) -> Result<GroupTypeRow> {
    let (ctx, id) = (req.ctx.clone(), req.param(param).to_string());
    let default = cinder.conf.default_group_type.clone();
    cinder
        .db
        .read(move |tx| match id.as_str() {
            "default" => group_types::find_by_name(tx, &default)?
                .ok_or_else(|| Error::not_found("Default group type can not be found.")),
            id => group_types::get(tx, &ctx, id),
        })
        .await
}

pub async fn show(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "id").await?;
    Reply::ok(&json!({"group_type": view(&req, &row)}))
}

pub async fn create(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("group_type")?;
    let name = text(&body, "name").unwrap_or_default();
    let specs = body.get("group_specs").and_then(Value::as_object);
    let row = GroupTypeRow {
        id: base::new_id(),
        name: name.clone(),
        description: text(&body, "description"),
        is_public: body.get("is_public").is_none_or(flag),
        group_specs: Json(specs.cloned().unwrap_or_default()),
        created_at: cinder.clock.now(),
        updated_at: None,
    };
    let view = view(&req, &row);
    let inserted = cinder.db.write(move |tx| tx.insert(&row)).await;
    inserted.map_err(|e| if is_duplicate(&e) { exists(&name) } else { e })?;
    Reply::json(202, &json!({"group_type": view}))
}

pub async fn update(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("group_type")?;
    let name = text(&body, "name").map(|n| n.trim().to_string());
    if name.as_deref() == Some("") {
        return Err(Error::bad_request("Group type name can not be empty."));
    }
    let mut values = vec![set("updated_at", cinder.clock.now())];
    if let Some(name) = &name {
        values.push(set("name", name));
    }
    if let Some(description) = text(&body, "description") {
        values.push(set("description", description));
    }
    if let Some(public) = body.get("is_public") {
        values.push(set("is_public", flag(public)));
    }
    if values.len() == 1 {
        return Err(Error::bad_request(
            "Specify group type name, description or a combination thereof.",
        ));
    }
    let (ctx, id) = (req.ctx.clone(), req.param("id").to_string());
    let changed = cinder
        .db
        .write(move |tx| {
            tx.update::<GroupTypeRow>(eq("id", &id), &values)?;
            group_types::get(tx, &ctx, &id)
        })
        .await;
    let name = name.unwrap_or_default();
    let row = changed.map_err(|e| if is_duplicate(&e) { exists(&name) } else { e })?;
    Reply::ok(&json!({"group_type": view(&req, &row)}))
}

pub async fn delete(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let id = req.param("id").to_string();
    cinder
        .db
        .write(move |tx| match tx.delete::<GroupTypeRow>(eq("id", &id))? {
            0 => Err(group_types::not_found(&id)),
            _ => Ok(()),
        })
        .await?;
    Ok(Reply::empty(202))
}

async fn change_specs(
    cinder: &Cinder,
    req: &Req,
    change: impl Fn(&mut Object) -> Result<()> + Send + Sync + 'static,
) -> Result<()> {
    let (id, now) = (req.param("group_type_id").to_string(), cinder.clock.now());
    cinder
        .db
        .write(move |tx| {
            let row = tx.find_for_update::<GroupTypeRow>(eq("id", &id))?;
            let mut specs = row
                .ok_or_else(|| group_types::not_found(&id))?
                .group_specs
                .0;
            change(&mut specs)?;
            let values = [set("group_specs", Json(specs)), set("updated_at", now)];
            tx.update::<GroupTypeRow>(eq("id", &id), &values).map(drop)
        })
        .await
}

pub async fn list_specs(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "group_type_id").await?;
    Reply::ok(&json!({"group_specs": row.group_specs.0}))
}

pub async fn create_specs(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Object = req.parse_key("group_specs")?;
    let sent = new.clone();
    change_specs(&cinder, &req, move |specs| {
        specs.extend(new.clone());
        Ok(())
    })
    .await?;
    Reply::json(202, &json!({"group_specs": sent}))
}

pub async fn show_spec(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let row = get(&cinder, &req, "group_type_id").await?;
    let key = req.param("id");
    match row.group_specs.0.get(key) {
        Some(value) => Reply::ok(&json!({key: value})),
        None => Err(Error::not_found(format!(
            "Group Type {} has no extra spec with key {key}.",
            row.id
        ))),
    }
}

pub async fn update_spec(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let new: Object = req.parse()?;
    let key = req.param("id").to_string();
    let Some(value) = new.get(&key).cloned() else {
        return Err(Error::bad_request("Request body and URI mismatch"));
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
        req.param("group_type_id").to_string(),
        req.param("id").to_string(),
    );
    change_specs(&cinder, &req, move |specs| {
        let gone = specs.shift_remove(&key);
        gone.map(drop).ok_or_else(|| {
            Error::not_found(format!("Group Type {id} has no specs with key {key}."))
        })
    })
    .await?;
    Ok(Reply::empty(202))
}
