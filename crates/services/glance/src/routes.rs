//! The whole HTTP surface. Import, staging, tasks, locations, caches and metadefs are not built and not routed.

use crate::api::{actions, data, images, info, members, schemas, tags, versions};
use crate::{Conf, Glance};
use oslo_http::{
    AUTHENTICATED, ApiConfig, PUBLIC, Route, delete, faults, get, inside, patch, post, put,
};

pub fn config(conf: &Conf) -> ApiConfig {
    ApiConfig {
        strict_content_type: false,
        identity_uri: conf.www_authenticate_uri.clone(),
        ..ApiConfig::new("glance", faults::html)
    }
}

#[rustfmt::skip]
pub fn routes() -> Vec<Route<Glance>> {
    vec![
        get("/", PUBLIC, versions::choose),
        get("/versions", PUBLIC, versions::list),

        get("/v2/images", inside("get_images"), images::list),
        post("/v2/images", inside("add_image"), images::create),
        get("/v2/images/{image_id}", inside("get_image"), images::show),
        patch("/v2/images/{image_id}", inside("modify_image"), images::update),
        delete("/v2/images/{image_id}", inside("delete_image"), images::delete),

        get("/v2/images/{image_id}/file", inside("download_image"), data::download),
        put("/v2/images/{image_id}/file", inside("upload_image"), data::upload).stream(),

        post("/v2/images/{image_id}/actions/deactivate", inside("deactivate"), actions::deactivate),
        post("/v2/images/{image_id}/actions/reactivate", inside("reactivate"), actions::reactivate),

        put("/v2/images/{image_id}/tags/{tag_value}", inside("modify_image"), tags::add),
        delete("/v2/images/{image_id}/tags/{tag_value}", inside("modify_image"), tags::remove),

        get("/v2/images/{image_id}/members", inside("get_members"), members::list),
        post("/v2/images/{image_id}/members", inside("add_member"), members::create),
        get("/v2/images/{image_id}/members/{member_id}", inside("get_member"), members::show),
        put("/v2/images/{image_id}/members/{member_id}", inside("modify_member"), members::update),
        delete("/v2/images/{image_id}/members/{member_id}", inside("delete_member"), members::delete),

        get("/v2/info/import", AUTHENTICATED, info::import),
        get("/v2/info/stores", AUTHENTICATED, info::stores),
        get("/v2/info/usage", AUTHENTICATED, info::usage),

        get("/v2/schemas/{name}", AUTHENTICATED, schemas::show),
    ]
}
