//! Images and members as callers see them: views that borrow from the rows and become bytes without a tree between.

use crate::Glance;
use crate::db::images::Image;
use crate::db::{LocationRow, MemberRow, TaskRow};
use crate::image::locations;
use crate::stores::Stores;
use glance_types::{ImageStatus, MemberStatus, Visibility};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An image. No custom property has an attribute's name: `image/attributes.rs` sees to that.
#[derive(Serialize)]
pub struct ImageView<'a> {
    #[serde(flatten)]
    properties: &'a BTreeMap<String, String>,
    name: Option<&'a str>,
    disk_format: Option<&'a str>,
    container_format: Option<&'a str>,
    visibility: Visibility,
    size: Option<i64>,
    virtual_size: Option<i64>,
    status: ImageStatus,
    checksum: Option<&'a str>,
    protected: bool,
    min_ram: i64,
    min_disk: i64,
    owner: Option<&'a str>,
    os_hidden: bool,
    os_hash_algo: Option<&'a str>,
    os_hash_value: Option<&'a str>,
    id: &'a str,
    created_at: String,
    updated_at: String,
    tags: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stores: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locations: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_url: Option<String>,
    #[serde(rename = "self")]
    own: String,
    file: String,
    schema: &'static str,
}

/// The stores that hold copies, those that are read first first.
fn store_names(image: &Image, stores: &Stores) -> Option<String> {
    match image.locations.as_slice() {
        [] => None,
        [one] => Some(stores.find(&one.store)?.id.clone()),
        many => {
            let mut found: Vec<_> = many.iter().filter_map(|l| stores.find(&l.store)).collect();
            found.sort_by_key(|b| (std::cmp::Reverse(b.weight), &b.id));
            let names: Vec<&str> = found.iter().map(|b| b.id.as_str()).collect();
            Some(names.join(","))
        }
    }
}

/// Where the copies are, for those who may see it.
pub fn places(image: &Image, stores: &Stores) -> Vec<Value> {
    let place =
        |l| json!({"url": locations::url(l, stores), "metadata": locations::metadata(l, stores)});
    let known = image.locations.iter();
    known
        .filter(|l| stores.find(&l.store).is_some())
        .map(place)
        .collect()
}

/// The address of the copy that is read first.
fn first_place(image: &Image, stores: &Stores) -> Option<String> {
    let weight = |l: &&LocationRow| stores.find(&l.store).map_or(0, |s| s.weight);
    let first = image.locations.iter().rev().max_by_key(weight)?;
    Some(locations::url(first, stores))
}

pub fn image<'a>(image: &'a Image, glance: &Glance) -> ImageView<'a> {
    let (stores, conf) = (&glance.stores, &glance.conf);
    let row = &image.row;
    ImageView {
        properties: &image.properties,
        name: row.name.as_deref(),
        disk_format: row.disk_format.as_deref(),
        container_format: row.container_format.as_deref(),
        visibility: row.visibility,
        size: row.size,
        virtual_size: row.virtual_size,
        status: row.status,
        checksum: row.checksum.as_deref(),
        protected: row.protected,
        min_ram: row.min_ram,
        min_disk: row.min_disk,
        owner: row.owner.as_deref(),
        os_hidden: row.os_hidden,
        os_hash_algo: row.os_hash_algo.as_deref(),
        os_hash_value: row.os_hash_value.as_deref(),
        id: &row.id,
        created_at: row.created_at.iso_z(),
        updated_at: row.updated_at.iso_z(),
        tags: &image.tags,
        stores: store_names(image, stores),
        locations: conf.show_multiple_locations.then(|| places(image, stores)),
        direct_url: match conf.show_image_direct_url {
            true => first_place(image, stores),
            false => None,
        },
        own: format!("/v2/images/{}", row.id),
        file: format!("/v2/images/{}/file", row.id),
        schema: "/v2/schemas/image",
    }
}

/// A task as it stands beside its image.
pub fn image_task(row: &TaskRow) -> base::Result<Value> {
    let parsed = |text: Option<&str>| text.map_or(Ok(Value::Null), serde_json::from_str);
    Ok(json!({
        "id": row.id,
        "image_id": row.image_id,
        "request_id": row.request_id,
        "user_id": row.user_id,
        "type": row.r#type,
        "status": row.status,
        "owner": row.owner,
        "expires_at": row.expires_at.map(|at| at.iso_z()),
        "created_at": row.created_at.iso_z(),
        "updated_at": row.updated_at.iso_z(),
        "deleted_at": null,
        "deleted": false,
        "input": parsed(Some(&row.input))?,
        "result": parsed(row.result.as_deref())?,
        "message": row.message,
    }))
}

/// A page of images.
#[derive(Serialize)]
pub struct ImagesView<'a> {
    pub images: Vec<ImageView<'a>>,
    pub first: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    pub schema: &'static str,
}

#[derive(Serialize)]
pub struct MemberView<'a> {
    member_id: &'a str,
    image_id: &'a str,
    status: MemberStatus,
    created_at: String,
    updated_at: String,
    schema: &'static str,
}

pub fn member(row: &MemberRow) -> MemberView<'_> {
    MemberView {
        member_id: &row.member,
        image_id: &row.image,
        status: row.status,
        created_at: row.created_at.iso_z(),
        updated_at: row.updated_at.iso_z(),
        schema: "/v2/schemas/member",
    }
}
