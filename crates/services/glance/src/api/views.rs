//! Images and members as callers see them.

use crate::db::MemberRow;
use crate::db::images::Image;
use serde_json::{Map, Value, json};

pub fn image(image: &Image) -> Value {
    let row = &image.row;
    let mut map = Map::new();
    for (name, value) in &image.properties {
        map.insert(name.clone(), value.as_str().into());
    }
    let Value::Object(own) = json!({
        "name": row.name,
        "disk_format": row.disk_format,
        "container_format": row.container_format,
        "visibility": row.visibility,
        "size": row.size,
        "virtual_size": row.virtual_size,
        "status": row.status,
        "checksum": row.checksum,
        "protected": row.protected,
        "min_ram": row.min_ram,
        "min_disk": row.min_disk,
        "owner": row.owner,
        "os_hidden": row.os_hidden,
        "os_hash_algo": row.os_hash_algo,
        "os_hash_value": row.os_hash_value,
        "id": row.id,
        "created_at": row.created_at.iso_z(),
        "updated_at": row.updated_at.iso_z(),
        "tags": image.tags,
        "self": format!("/v2/images/{}", row.id),
        "file": format!("/v2/images/{}/file", row.id),
        "schema": "/v2/schemas/image",
    }) else {
        return Value::Null;
    };
    map.extend(own);
    Value::Object(map)
}

pub fn member(row: &MemberRow) -> Value {
    json!({
        "member_id": row.member,
        "image_id": row.image,
        "status": row.status,
        "created_at": row.created_at.iso_z(),
        "updated_at": row.updated_at.iso_z(),
        "schema": "/v2/schemas/member",
    })
}
