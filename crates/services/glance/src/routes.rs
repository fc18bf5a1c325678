//! The whole HTTP surface.

use crate::api::metadefs::{namespaces, objects, properties, resource_types, tags as metadef_tags};
use crate::api::{
    actions, cache, data, images, import, info, locations, members, schemas, stores, tags, tasks,
    versions,
};
use crate::{Conf, Glance};
use oslo_http::{
    AUTHENTICATED, ApiConfig, PUBLIC, Route, delete, faults, get, inside, patch, post, put, rule,
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

        put("/v2/images/{image_id}/stage", inside("modify_image"), data::stage).stream(),
        post("/v2/images/{image_id}/import", inside("modify_image"), import::import),
        get("/v2/images/{image_id}/tasks", inside("get_image"), tasks::of_image),
        get("/v2/images/{image_id}/locations", inside("fetch_image_location"), locations::list),
        post("/v2/images/{image_id}/locations", inside("add_image_location"), locations::add),
        delete("/v2/stores/{store_id}/{image_id}", inside("delete_image_location"), stores::delete),

        get("/v2/cache", inside("cache_list"), cache::list),
        delete("/v2/cache", inside("cache_delete"), cache::clear),
        put("/v2/cache/{image_id}", inside("cache_image"), cache::queue),
        delete("/v2/cache/{image_id}", inside("cache_delete"), cache::delete),
        post("/v2/cache/clean", inside("cache_clean"), cache::clean),
        post("/v2/cache/prune", inside("cache_prune"), cache::prune),
        get("/v2/cache/nodes/{image_id}", inside("list_cached_nodes"), cache::nodes),

        get("/v2/tasks", inside("get_tasks"), tasks::list),
        post("/v2/tasks", inside("add_task"), tasks::create),
        get("/v2/tasks/{task_id}", inside("get_task"), tasks::show),
        delete("/v2/tasks/{task_id}", inside("modify_task"), tasks::delete),

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
        get("/v2/info/stores", AUTHENTICATED, stores::list),
        get("/v2/info/stores/detail", rule("stores_info_detail"), stores::detail),
        get("/v2/info/usage", AUTHENTICATED, info::usage),

        get("/v2/metadefs/namespaces", inside("get_metadef_namespaces"), namespaces::list),
        post("/v2/metadefs/namespaces", inside("add_metadef_namespace"), namespaces::create),
        get("/v2/metadefs/namespaces/{namespace}", inside("get_metadef_namespace"), namespaces::show),
        put("/v2/metadefs/namespaces/{namespace}", inside("modify_metadef_namespace"), namespaces::update),
        delete("/v2/metadefs/namespaces/{namespace}", inside("delete_metadef_namespace"), namespaces::delete),

        get("/v2/metadefs/namespaces/{namespace}/objects", inside("get_metadef_objects"), objects::list),
        post("/v2/metadefs/namespaces/{namespace}/objects", inside("add_metadef_object"), objects::create),
        delete("/v2/metadefs/namespaces/{namespace}/objects", inside("delete_metadef_namespace"), namespaces::delete_objects),
        get("/v2/metadefs/namespaces/{namespace}/objects/{object_name}", inside("get_metadef_object"), objects::show),
        put("/v2/metadefs/namespaces/{namespace}/objects/{object_name}", inside("modify_metadef_object"), objects::update),
        delete("/v2/metadefs/namespaces/{namespace}/objects/{object_name}", inside("delete_metadef_object"), objects::delete),

        get("/v2/metadefs/namespaces/{namespace}/properties", inside("get_metadef_properties"), properties::list),
        post("/v2/metadefs/namespaces/{namespace}/properties", inside("add_metadef_property"), properties::create),
        delete("/v2/metadefs/namespaces/{namespace}/properties", inside("delete_metadef_namespace"), namespaces::delete_properties),
        get("/v2/metadefs/namespaces/{namespace}/properties/{property_name}", inside("get_metadef_property"), properties::show),
        put("/v2/metadefs/namespaces/{namespace}/properties/{property_name}", inside("modify_metadef_property"), properties::update),
        delete("/v2/metadefs/namespaces/{namespace}/properties/{property_name}", inside("remove_metadef_property"), properties::delete),

        get("/v2/metadefs/namespaces/{namespace}/resource_types", inside("get_metadef_resource_type"), resource_types::list),
        post("/v2/metadefs/namespaces/{namespace}/resource_types", inside("add_metadef_resource_type_association"), resource_types::create),
        delete("/v2/metadefs/namespaces/{namespace}/resource_types/{resource_type}", inside("remove_metadef_resource_type_association"), resource_types::delete),

        get("/v2/metadefs/namespaces/{namespace}/tags", inside("get_metadef_tags"), metadef_tags::list),
        post("/v2/metadefs/namespaces/{namespace}/tags", inside("add_metadef_tags"), metadef_tags::replace),
        delete("/v2/metadefs/namespaces/{namespace}/tags", inside("delete_metadef_tags"), namespaces::delete_tags),
        get("/v2/metadefs/namespaces/{namespace}/tags/{tag_name}", inside("get_metadef_tag"), metadef_tags::show),
        post("/v2/metadefs/namespaces/{namespace}/tags/{tag_name}", inside("add_metadef_tag"), metadef_tags::create),
        put("/v2/metadefs/namespaces/{namespace}/tags/{tag_name}", inside("modify_metadef_tag"), metadef_tags::update),
        delete("/v2/metadefs/namespaces/{namespace}/tags/{tag_name}", inside("delete_metadef_tag"), metadef_tags::delete),

        get("/v2/metadefs/resource_types", inside("list_metadef_resource_types"), resource_types::types),

        get("/v2/schemas/{name}", AUTHENTICATED, schemas::show),
        get("/v2/schemas/metadefs/{name}", AUTHENTICATED, schemas::metadef),
    ]
}
