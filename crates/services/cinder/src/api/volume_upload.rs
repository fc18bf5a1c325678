//! `os-volume_upload_image`.

use crate::Cinder;
use crate::api::time;
use crate::db::TypeRow;
use crate::volume::status::VolumeStatus;
use crate::volume::upload::{NewImage, upload as begin};
use base::Result;
use oslo_db::eq;
use oslo_http::{Reply, Req, is_true};
use oslo_policy::Target;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Object = Map<String, Value>;

fn text(object: &Object, key: &str, default: &str) -> String {
    let given = object.get(key).and_then(Value::as_str);
    given.unwrap_or(default).to_string()
}

fn flag(object: &Object, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Bool(b)) => *b,
        Some(Value::String(text)) => is_true(text),
        _ => false,
    }
}

pub async fn upload(cinder: Arc<Cinder>, req: Req) -> Result<Reply> {
    let body: Object = req.parse_key("os-volume_upload_image")?;
    let newer = req.at_least(3, 1);
    let new = NewImage {
        name: text(&body, "image_name", ""),
        force: flag(&body, "force"),
        disk_format: text(&body, "disk_format", "raw"),
        container_format: text(&body, "container_format", "bare"),
        visibility: match newer {
            true => text(&body, "visibility", "private"),
            false => "private".to_string(),
        },
        protected: newer && flag(&body, "protected"),
    };
    if new.visibility == "public" {
        let own = Target::project(req.ctx.project());
        req.enforce("volume_extension:volume_actions:upload_public", &own)?;
    }
    let asked = new.clone();
    let (image_id, volume) = begin(&cinder, &req.ctx, req.param("id"), new).await?;
    let kind = volume.volume_type_id.clone();
    let kind = cinder
        .db
        .read(move |tx| tx.find::<TypeRow>(eq("id", &kind)))
        .await?;
    let kind = kind.map(|k| json!({"id": k.id, "name": k.name, "description": k.description, "is_public": k.is_public}));
    let mut out = json!({
        "id": volume.id,
        "updated_at": time(volume.updated_at),
        "status": VolumeStatus::Uploading,
        "display_description": volume.description,
        "size": volume.size,
        "volume_type": kind,
        "image_id": image_id,
        "container_format": asked.container_format,
        "disk_format": asked.disk_format,
        "image_name": asked.name,
    });
    if newer {
        out["visibility"] = json!(asked.visibility);
        out["protected"] = json!(asked.protected);
    }
    Reply::json(202, &json!({"os-volume_upload_image": out}))
}
