//! `/v3/OS-EP-FILTER`: which endpoints the catalog of a project's tokens has.

use crate::Keystone;
use crate::api::fields::{Fields, expecting};
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{
    base_url, endpoints as endpoint_views, one, projects as project_views, self_link,
};
use crate::db::endpoint_filters::{
    self, EndpointGroupRow, KEYS, ProjectEndpointGroupRow, ProjectEndpointRow,
};
use crate::db::projects::{self, ProjectRow};
use crate::db::{Extra, endpoints};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Json, Result, new_hex_id};
use oslo_db::{Cond, Tx, all, eq, in_rows, is_duplicate, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("name", By::Text("name"))];

fn view(base: &str, g: &EndpointGroupRow) -> Value {
    json!({
        "id": g.id,
        "name": g.name,
        "description": g.description,
        "filters": g.filters.0,
        "links": self_link(base, &format!("OS-EP-FILTER/endpoint_groups/{}", g.id)),
    })
}

fn check_filters(filters: &Extra) -> Result<()> {
    match filters.keys().all(|key| KEYS.contains(&key.as_str())) {
        true => Ok(()),
        false => Err(expecting(&KEYS.join(" or "), "endpoint_group")),
    }
}

/// `GET …/endpoint_groups`
pub(crate) async fn list_groups(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_endpoint_groups", Target::new())?;
    let cond = filters(&req.query, FILTERS);
    let rows = keystone
        .db
        .read(move |tx| {
            tx.select_sorted::<EndpointGroupRow>(cond.clone(), &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|g| view(&base, g)).collect();
    collection(&base, &req, "endpoint_groups", views, None)
}

/// `POST …/endpoint_groups`
pub(crate) async fn create_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:create_endpoint_group", Target::new())?;
    let mut fields = Fields::of(&req, "endpoint_group")?;
    let filters = fields.object("filters")?.filter(|f| !f.is_empty());
    let filters = filters
        .ok_or_else(|| Error::bad_request("filters field is required and cannot be empty"))?;
    check_filters(&filters)?;
    let row = EndpointGroupRow {
        id: new_hex_id(),
        name: fields.required("name", "endpoint_group")?,
        description: fields.text("description")?,
        filters: Json(filters),
    };
    let new = row.clone();
    keystone.write(move |tx| tx.insert(&new)).await?;
    one(
        201,
        "endpoint_group",
        view(&base_url(&keystone, &req), &row),
    )
}

/// `GET …/endpoint_groups/{endpoint_group_id}`
pub(crate) async fn show_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:get_endpoint_group", Target::new())?;
    let id = req.param("endpoint_group_id").to_string();
    let row = keystone
        .db
        .read(move |tx| endpoint_filters::get_group(tx, &id))
        .await?;
    one(
        200,
        "endpoint_group",
        view(&base_url(&keystone, &req), &row),
    )
}

/// `PATCH …/endpoint_groups/{endpoint_group_id}`
pub(crate) async fn update_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:update_endpoint_group", Target::new())?;
    let id = req.param("endpoint_group_id").to_string();
    let fields = Fields::of(&req, "endpoint_group")?;
    let row = keystone
        .write(move |tx| {
            let mut row = endpoint_filters::get_group(tx, &id)?;
            let mut fields = fields.clone();
            if fields.text("id")?.is_some_and(|new| new != id) {
                return Err(Error::bad_request("Cannot change ID"));
            }
            row.name = fields.text("name")?.unwrap_or(row.name);
            row.description = fields.nullable("description")?.unwrap_or(row.description);
            if let Some(filters) = fields.object("filters")? {
                check_filters(&filters)?;
                row.filters.0 = filters;
            }
            let values = [
                set("name", &row.name),
                set("description", &row.description),
                set("filters", &row.filters),
            ];
            tx.update::<EndpointGroupRow>(eq("id", &id), &values)?;
            Ok(row)
        })
        .await?;
    one(
        200,
        "endpoint_group",
        view(&base_url(&keystone, &req), &row),
    )
}

/// `DELETE …/endpoint_groups/{endpoint_group_id}`
pub(crate) async fn delete_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:delete_endpoint_group", Target::new())?;
    let id = req.param("endpoint_group_id").to_string();
    keystone
        .write(move |tx| {
            endpoint_filters::get_group(tx, &id)?;
            tx.delete::<ProjectEndpointGroupRow>(eq("endpoint_group_id", &id))?;
            tx.delete::<EndpointGroupRow>(eq("id", &id)).map(drop)
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `GET …/endpoint_groups/{endpoint_group_id}/endpoints`
pub(crate) async fn list_endpoints_of_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:list_endpoints_associated_with_endpoint_group";
    enforce(&req, rule, Target::new())?;
    let id = req.param("endpoint_group_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            let group = endpoint_filters::get_group(tx, &id)?;
            endpoint_filters::endpoints(tx, |e| group.has(e))
        })
        .await?;
    endpoint_views::listed(&keystone, &req, &rows)
}

async fn projects_that(
    keystone: &Keystone,
    req: &Req,
    find: impl Fn(&mut Tx) -> Result<Cond> + Send + Sync + 'static,
) -> Result<Reply> {
    let rows = keystone
        .db
        .read(move |tx| {
            let cond = find(tx)?;
            tx.select_sorted::<ProjectRow>(cond, &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(keystone, req);
    let views = rows.iter().map(|p| project_views::view(&base, p)).collect();
    collection(&base, req, "projects", views, None)
}

/// `GET …/endpoint_groups/{endpoint_group_id}/projects`
pub(crate) async fn list_projects_of_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:list_projects_associated_with_endpoint_group";
    enforce(&req, rule, Target::new())?;
    let id = req.param("endpoint_group_id").to_string();
    let find = move |tx: &mut Tx| {
        endpoint_filters::get_group(tx, &id)?;
        let linked = eq("endpoint_group_id", &id);
        Ok(in_rows::<ProjectEndpointGroupRow>(
            "id",
            "project_id",
            linked,
        ))
    };
    projects_that(&keystone, &req, find).await
}

/// `GET …/endpoints/{endpoint_id}/projects`
pub(crate) async fn list_projects_of_endpoint(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_projects_for_endpoint", Target::new())?;
    let id = req.param("endpoint_id").to_string();
    let find = move |tx: &mut Tx| {
        endpoints::get(tx, &id)?;
        let linked = eq("endpoint_id", &id);
        Ok(in_rows::<ProjectEndpointRow>("id", "project_id", linked))
    };
    projects_that(&keystone, &req, find).await
}

/// `GET …/projects/{project_id}/endpoints`
pub(crate) async fn list_endpoints_of_project(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:list_endpoints_for_project", Target::new())?;
    let id = req.param("project_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            projects::get(tx, &id)?;
            match endpoint_filters::of_project(tx, &id)? {
                Some(theirs) => endpoint_filters::endpoints(tx, theirs),
                None => Ok(vec![]),
            }
        })
        .await?;
    endpoint_views::listed(&keystone, &req, &rows)
}

/// `GET …/projects/{project_id}/endpoint_groups`
pub(crate) async fn list_groups_of_project(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:list_endpoint_groups_for_project";
    enforce(&req, rule, Target::new())?;
    let id = req.param("project_id").to_string();
    let rows = keystone
        .db
        .read(move |tx| {
            projects::get(tx, &id)?;
            endpoint_filters::groups_of(tx, &id)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows.iter().map(|g| view(&base, g)).collect();
    collection(&base, &req, "endpoint_groups", views, None)
}

/// A project and an endpoint, as the path names them.
fn endpoint_link(req: &Req) -> (ProjectEndpointRow, Cond) {
    let row = ProjectEndpointRow {
        project_id: req.param("project_id").to_string(),
        endpoint_id: req.param("endpoint_id").to_string(),
    };
    let same = all([
        eq("project_id", &row.project_id),
        eq("endpoint_id", &row.endpoint_id),
    ]);
    (row, same)
}

fn no_endpoint_link(row: &ProjectEndpointRow) -> Error {
    Error::not_found(format!(
        "Endpoint {} not found in project {}",
        row.endpoint_id, row.project_id
    ))
}

/// `GET` and `HEAD …/projects/{project_id}/endpoints/{endpoint_id}`
pub(crate) async fn check_endpoint(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:check_endpoint_in_project", Target::new())?;
    let (row, same) = endpoint_link(&req);
    keystone
        .db
        .read(move |tx| {
            endpoints::get(tx, &row.endpoint_id)?;
            projects::get(tx, &row.project_id)?;
            match tx.exists::<ProjectEndpointRow>(same.clone())? {
                true => Ok(()),
                false => Err(no_endpoint_link(&row)),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `PUT …/projects/{project_id}/endpoints/{endpoint_id}`
pub(crate) async fn add_endpoint(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:add_endpoint_to_project", Target::new())?;
    let (row, _) = endpoint_link(&req);
    keystone
        .write(move |tx| {
            endpoints::get(tx, &row.endpoint_id)?;
            projects::get(tx, &row.project_id)?;
            tx.insert(&row)
                .map_err(|e| taken("project_endpoint", &row.endpoint_id, e))
        })
        .await?;
    Ok(Reply::empty(204))
}

fn taken(kind: &str, id: &str, error: Error) -> Error {
    match is_duplicate(&error) {
        true => Error::conflict(format!(
            "Conflict occurred attempting to store {kind} - Duplicate entry found with ID {id}."
        )),
        false => error,
    }
}

/// `DELETE …/projects/{project_id}/endpoints/{endpoint_id}`
pub(crate) async fn remove_endpoint(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:remove_endpoint_from_project", Target::new())?;
    let (row, same) = endpoint_link(&req);
    keystone
        .write(
            move |tx| match tx.delete::<ProjectEndpointRow>(same.clone())? {
                0 => Err(no_endpoint_link(&row)),
                _ => Ok(()),
            },
        )
        .await?;
    Ok(Reply::empty(204))
}

/// A project and a group, as the path names them.
fn group_link(req: &Req) -> (ProjectEndpointGroupRow, Cond) {
    let row = ProjectEndpointGroupRow {
        project_id: req.param("project_id").to_string(),
        endpoint_group_id: req.param("endpoint_group_id").to_string(),
    };
    let same = all([
        eq("project_id", &row.project_id),
        eq("endpoint_group_id", &row.endpoint_group_id),
    ]);
    (row, same)
}

fn check_both(tx: &mut Tx, row: &ProjectEndpointGroupRow) -> Result<()> {
    projects::get(tx, &row.project_id)?;
    endpoint_filters::get_group(tx, &row.endpoint_group_id).map(drop)
}

fn no_group_link() -> Error {
    Error::not_found("Project Endpoint Group association not found")
}

/// `GET` and `HEAD …/endpoint_groups/{endpoint_group_id}/projects/{project_id}`
pub(crate) async fn show_group_link(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:get_endpoint_group_in_project";
    enforce(&req, rule, Target::new())?;
    let (row, same) = group_link(&req);
    let shown = json!({
        "endpoint_group_id": row.endpoint_group_id,
        "project_id": row.project_id,
        // COMPAT: upstream's link is no whole address.
        "links": {"self": format!(
            "/OS-EP-FILTER/endpoint_groups/{}/projects/{}",
            row.endpoint_group_id, row.project_id
        )},
    });
    keystone
        .db
        .read(move |tx| {
            check_both(tx, &row)?;
            match tx.exists::<ProjectEndpointGroupRow>(same.clone())? {
                true => Ok(()),
                false => Err(no_group_link()),
            }
        })
        .await?;
    one(200, "project_endpoint_group", shown)
}

/// `PUT …/endpoint_groups/{endpoint_group_id}/projects/{project_id}`
pub(crate) async fn add_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:add_endpoint_group_to_project";
    enforce(&req, rule, Target::new())?;
    let (row, _) = group_link(&req);
    keystone
        .write(move |tx| {
            check_both(tx, &row)?;
            tx.insert(&row)
                .map_err(|e| taken("project_endpoint_group", &row.endpoint_group_id, e))
        })
        .await?;
    Ok(Reply::empty(204))
}

/// `DELETE …/endpoint_groups/{endpoint_group_id}/projects/{project_id}`
pub(crate) async fn remove_group(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let rule = "identity:remove_endpoint_group_from_project";
    enforce(&req, rule, Target::new())?;
    let (row, same) = group_link(&req);
    keystone
        .write(move |tx| {
            check_both(tx, &row)?;
            match tx.delete::<ProjectEndpointGroupRow>(same.clone())? {
                0 => Err(no_group_link()),
                _ => Ok(()),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}
