//! An image with what belongs to it: properties, tags, whether the caller is a member.

use super::visible::may_see;
use super::{ImageRow, LocationRow, LocationStatus, MemberRow, PropertyRow, TagRow};
use base::{Error, Result};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, is_in, is_null, set};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Clone, Debug)]
pub struct Image {
    pub row: ImageRow,
    pub properties: BTreeMap<String, String>,
    pub tags: BTreeSet<String>,
    /// Copies of its data.
    pub locations: Vec<LocationRow>,
    /// The caller's membership.
    pub member: Option<MemberRow>,
}

impl Image {
    /// What policy rules look at.
    pub fn target(&self) -> Value {
        json!({
            "project_id": self.row.owner,
            "owner": self.row.owner,
            "visibility": self.row.visibility,
            "member_id": self.member.as_ref().map(|m| &m.member),
        })
    }
}

pub fn not_found(id: &str) -> Error {
    Error::not_found(format!("No image found with ID {id}"))
}

/// The image, if this caller may know of it; else a 404.
pub fn get(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<Image> {
    load(tx, ctx, id, false)
}

/// Like [`get`], and nobody else changes the row until the transaction ends.
pub fn get_for_update(tx: &mut Tx, ctx: &RequestContext, id: &str) -> Result<Image> {
    load(tx, ctx, id, true)
}

fn load(tx: &mut Tx, ctx: &RequestContext, id: &str, lock: bool) -> Result<Image> {
    let cond = all([eq("id", id), is_null("deleted_at")]);
    let row = if lock {
        tx.find_for_update::<ImageRow>(cond)?
    } else {
        tx.find(cond)?
    };
    let row = row.ok_or_else(|| not_found(id))?;
    let mine = all([eq("image", id), eq("member", ctx.project())]);
    let member = tx.find::<MemberRow>(mine)?;
    if !may_see(ctx, &row, member.is_some()) {
        return Err(not_found(id));
    }
    let mut images = gather(tx, vec![row])?;
    let mut image = images.pop().ok_or_else(|| not_found(id))?;
    image.member = member;
    Ok(image)
}

/// Rows with their properties and tags, in the order given.
pub fn gather(tx: &mut Tx, rows: Vec<ImageRow>) -> Result<Vec<Image>> {
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let mut properties: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    for p in tx.select::<PropertyRow>(is_in("image", ids.iter()))? {
        properties
            .entry(p.image)
            .or_default()
            .insert(p.name, p.value);
    }
    let mut tags: HashMap<String, BTreeSet<String>> = HashMap::new();
    for t in tx.select::<TagRow>(is_in("image", ids.iter()))? {
        tags.entry(t.image).or_default().insert(t.tag);
    }
    let mut locations: HashMap<String, Vec<LocationRow>> = HashMap::new();
    let readable = all([
        is_in("image", ids.iter()),
        eq("status", LocationStatus::Active),
    ]);
    let by_age = [("created_at", base::Dir::Asc), ("id", base::Dir::Asc)];
    for location in tx.select_sorted::<LocationRow>(readable, &by_age, None)? {
        let own = locations.entry(location.image.clone()).or_default();
        own.push(location);
    }
    let image = |row: ImageRow| Image {
        locations: locations.remove(&row.id).unwrap_or_default(),
        properties: properties.remove(&row.id).unwrap_or_default(),
        tags: tags.remove(&row.id).unwrap_or_default(),
        member: None,
        row,
    };
    Ok(rows.into_iter().map(image).collect())
}

/// Marks copies of an image for removal and says how many.
pub fn drop_locations(tx: &mut Tx, cond: oslo_db::Cond) -> Result<u64> {
    let live = eq("status", LocationStatus::Active);
    let values = [set("status", LocationStatus::PendingDelete)];
    tx.update::<LocationRow>(all([cond, live]), &values)
}

/// Makes the stored copies of an image those of `new`, which came of `old`.
pub fn save_locations(tx: &mut Tx, old: &Image, new: &Image) -> Result<()> {
    let find = |among: &Image, id: &str| among.locations.iter().find(|l| l.id == id).cloned();
    for location in &new.locations {
        match find(old, &location.id) {
            None => tx.insert(location)?,
            Some(before) if before.metadata != location.metadata => {
                let values = [set("metadata", location.metadata.clone())];
                tx.update::<LocationRow>(eq("id", &location.id), &values)?;
            }
            Some(_) => {}
        }
    }
    for gone in old.locations.iter().filter(|l| find(new, &l.id).is_none()) {
        drop_locations(tx, eq("id", &gone.id))?;
    }
    Ok(())
}

/// Makes the stored properties and tags those of `image`.
pub fn save_belongings(tx: &mut Tx, image: &Image) -> Result<()> {
    let id = &image.row.id;
    tx.delete::<PropertyRow>(eq("image", id))?;
    let property = |(name, value): (&String, &String)| PropertyRow {
        image: id.clone(),
        name: name.clone(),
        value: value.clone(),
    };
    tx.insert_all(&image.properties.iter().map(property).collect::<Vec<_>>())?;
    tx.delete::<TagRow>(eq("image", id))?;
    let tag = |tag: &String| TagRow {
        image: id.clone(),
        tag: tag.clone(),
    };
    tx.insert_all(&image.tags.iter().map(tag).collect::<Vec<_>>())
}
