//! `/v3/projects/{project_id}/tags`, and the filters of project lists by tags.

use crate::Keystone;
use crate::api::projects::{in_path, permit};
use crate::api::{base_url, check_mutable};
use crate::db::projects::{self, ProjectRow};
use crate::db::{Extra, missing};
use base::{Error, Json, Page, Paging, Result};
use oslo_db::{Cond, Tx, eq, set};
use oslo_http::{Query, Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const MOST_TAGS: usize = 80;

/// `tags`, `tags-any`, `not-tags`, `not-tags-any`.
pub(crate) struct TagFilter {
    all: Vec<String>,
    any: Vec<String>,
    not_all: Vec<String>,
    not_any: Vec<String>,
}

/// The tag filter of a query, if it has one.
pub(crate) fn filter(query: &Query) -> Option<TagFilter> {
    let list = |name: &str| -> Vec<String> {
        query
            .get(name)
            .into_iter()
            .flat_map(|v| v.split(','))
            .filter(|t| !t.is_empty())
            .map(str::to_string)
            .collect()
    };
    let filter = TagFilter {
        all: list("tags"),
        any: list("tags-any"),
        not_all: list("not-tags"),
        not_any: list("not-tags-any"),
    };
    let empty = filter.all.is_empty()
        && filter.any.is_empty()
        && filter.not_all.is_empty()
        && filter.not_any.is_empty();
    if empty { None } else { Some(filter) }
}

impl TagFilter {
    fn passes(&self, tags: &[String]) -> bool {
        let has = |t: &String| tags.contains(t);
        self.all.iter().all(has)
            && (self.any.is_empty() || self.any.iter().any(has))
            && (self.not_all.is_empty() || !self.not_all.iter().all(has))
            && !self.not_any.iter().any(has)
    }

    /// A page of the projects that pass. Tags are JSON in their row, so they are looked at here, not in SQL.
    pub(crate) fn page(
        &self,
        tx: &mut Tx,
        cond: &Cond,
        paging: &Paging,
    ) -> Result<Page<ProjectRow>> {
        let everything = Paging {
            limit: None,
            ..paging.clone()
        };
        let mut items = tx.page::<ProjectRow>(cond.clone(), &everything)?.items;
        items.retain(|p| self.passes(&p.tags.0));
        let wanted = paging
            .limit
            .map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        let more = items.len() > wanted;
        items.truncate(wanted);
        Ok(Page { items, more })
    }
}

fn check(tag: &str) -> Result<()> {
    let length = tag.chars().count();
    if length == 0 || length > 255 || tag.contains([',', '/']) {
        return Err(Error::bad_request(format!(
            "Invalid input for field 'tags': '{tag}' does not match '^[^,/]*$'"
        )));
    }
    Ok(())
}

async fn change(
    keystone: &Keystone,
    id: String,
    to: impl Fn(&mut Vec<String>) -> Result<()> + Send + Sync + 'static,
) -> Result<Vec<String>> {
    keystone
        .write(move |tx| {
            let row = projects::get(tx, &id)?;
            check_mutable(
                "project",
                &id,
                &row.options.0,
                &Extra::from_iter([("tags".to_string(), Value::Null)]),
            )?;
            let mut tags = row.tags.0;
            to(&mut tags)?;
            if tags.len() > MOST_TAGS {
                return Err(Error::bad_request(format!(
                    "Invalid input for field 'tags': more than {MOST_TAGS} tags"
                )));
            }
            tx.update::<ProjectRow>(eq("id", &id), &[set("tags", Json(tags.clone()))])?;
            Ok(tags)
        })
        .await
}

/// `GET /v3/projects/{project_id}/tags`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:list_project_tags", found)?;
    show_all(&keystone, &req, &row.id, &row.tags.0)
}

fn show_all(keystone: &Keystone, req: &Req, id: &str, tags: &[String]) -> Result<Reply> {
    let base = base_url(keystone, req);
    let links =
        json!({"next": null, "previous": null, "self": format!("{base}/projects/{id}/tags")});
    Reply::ok(&json!({"tags": tags, "links": links}))
}

/// `PUT /v3/projects/{project_id}/tags`
pub(crate) async fn replace(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:update_project_tags", found)?;
    let mut tags: Vec<String> = req.parse_key("tags")?;
    tags.iter().try_for_each(|t| check(t))?;
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|t| seen.insert(t.clone()));
    let wanted = tags.clone();
    let tags = change(&keystone, row.id.clone(), move |old| {
        old.clone_from(&wanted);
        Ok(())
    })
    .await?;
    show_all(&keystone, &req, &row.id, &tags)
}

/// `DELETE /v3/projects/{project_id}/tags`
pub(crate) async fn delete_all(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:delete_project_tags", found)?;
    change(&keystone, row.id, |tags| {
        tags.clear();
        Ok(())
    })
    .await?;
    Ok(Reply::empty(204))
}

/// `GET /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:get_project_tag", found)?;
    let tag = req.param("value");
    if row.tags.0.iter().any(|t| t == tag) {
        Ok(Reply::empty(204))
    } else {
        Err(missing("project tag", tag))
    }
}

/// `PUT /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn add(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:create_project_tag", found)?;
    let tag = req.param("value").to_string();
    check(&tag)?;
    let location = format!(
        "{}/projects/{}/tags/{}",
        base_url(&keystone, &req),
        row.id,
        oslo_http::percent_encode(&tag)
    );
    change(&keystone, row.id, move |tags| {
        if !tags.contains(&tag) {
            tags.push(tag.clone());
        }
        Ok(())
    })
    .await?;
    Ok(Reply::empty(201).header("location", location))
}

/// `DELETE /v3/projects/{project_id}/tags/{value}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let found = in_path(&keystone, req.param("project_id").to_string()).await?;
    let row = permit(&req, "identity:delete_project_tag", found)?;
    let tag = req.param("value").to_string();
    change(&keystone, row.id, move |tags| {
        let at = tags
            .iter()
            .position(|t| *t == tag)
            .ok_or_else(|| missing("project tag", &tag))?;
        tags.remove(at);
        Ok(())
    })
    .await?;
    Ok(Reply::empty(204))
}
