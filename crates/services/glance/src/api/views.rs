//! Images and members as callers see them: views that borrow from the rows and become bytes without a tree between.

use crate::db::MemberRow;
use crate::db::images::Image;
use glance_types::{ImageStatus, MemberStatus, Visibility};
use serde::Serialize;
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
    #[serde(rename = "self")]
    own: String,
    file: String,
    schema: &'static str,
}

pub fn image(image: &Image) -> ImageView<'_> {
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
        own: format!("/v2/images/{}", row.id),
        file: format!("/v2/images/{}/file", row.id),
        schema: "/v2/schemas/image",
    }
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
