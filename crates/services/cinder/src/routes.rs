//! The HTTP surface on one page. Every path exists with the project in it and, from 3.67 on, without.

use crate::api::{
    attachments, backups, clusters, default_types, encryption, filters, group_types, hosts, manage,
    messages, metadata, qos_specs, quotas, services, snapshots, transfers, types, versions,
    volume_actions, volume_upload, volumes, workers,
};
use crate::{Cinder, Conf};
use base::{Error, Microversion, Result};
use futures::future::BoxFuture;
use oslo_http::{
    AUTHENTICATED, ApiConfig, PUBLIC, Reply, Req, Route, VersionRange, action, delete, faults, get,
    inside, post, put, rule,
};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

pub const MIN: Microversion = Microversion(3, 0);
pub const MAX: Microversion = Microversion(3, 71);

pub fn config(conf: &Conf) -> ApiConfig {
    ApiConfig {
        versions: Some(VersionRange {
            service_type: "volume",
            min: MIN,
            max: MAX,
            legacy_header: None,
        }),
        identity_uri: conf.www_authenticate_uri.clone(),
        request_id_headers: &["x-compute-request-id"],
        ..ApiConfig::new("cinder", faults::keyed_volume)
    }
}

/// Upstream's schemas know the paths without project: the same hold for those with one.
pub fn both_forms(schemas: &str) -> Result<String> {
    let own: BTreeMap<String, &RawValue> = serde_json::from_str(schemas)?;
    let mut all = own.clone();
    for (key, schema) in own {
        all.insert(key.replacen(" /v3/", " /v3/{project_id}/", 1), schema);
    }
    Ok(serde_json::to_string(&all)?)
}

/// The project of the URL must be the token's; the cloud's own services work on everybody's.
fn scoped<F, Fut>(
    handler: F,
) -> impl Fn(Arc<Cinder>, Req) -> BoxFuture<'static, Result<Reply>> + Send + Sync + 'static
where
    F: Fn(Arc<Cinder>, Req) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply>> + Send + 'static,
{
    move |cinder, req| {
        Box::pin(async move {
            let project = req.param("project_id");
            if !project.is_empty() && project != req.ctx.project() && !req.ctx.is_admin {
                return Err(Error::bad_request("Malformed request url"));
            }
            handler(cinder, req).await
        })
    }
}

macro_rules! rows {
    (@one action $path:expr, $key:literal, $access:expr, $handler:path) => {
        action($path, $key, $access, scoped($handler))
    };
    (@one $method:ident $path:expr, , $access:expr, $handler:path) => {
        $method($path, $access, scoped($handler))
    };
    ($($method:ident $path:literal $($key:literal)?, $access:expr, $handler:path $(, since $minor:literal)?;)*) => {{
        let mut rows: Vec<Route<Cinder>> = Vec::new();
        $(
            let since: u16 = 0 $(+ $minor)?;
            let with = rows!(@one $method concat!("/v3/{project_id}", $path), $($key)?, $access, $handler);
            rows.push(with.since(3, since));
            let without = rows!(@one $method concat!("/v3", $path), $($key)?, $access, $handler);
            rows.push(without.since(3, since.max(67)));
        )*
        rows
    }};
}

pub fn routes() -> Vec<Route<Cinder>> {
    let mut all = vec![
        get("/", PUBLIC, versions::root),
        get("/v3", PUBLIC, versions::show),
    ];
    all.extend(rows! {
        get "/extensions", AUTHENTICATED, versions::extensions;
        get "/extensions/{id}", AUTHENTICATED, versions::extension_show;

        get "/volumes", rule("volume:get_all"), volumes::list;
        get "/volumes/detail", rule("volume:get_all"), volumes::detail;
        get "/volumes/summary", rule("volume:get_all"), volumes::summary, since 12;
        post "/volumes", rule("volume:create"), volumes::create;
        get "/volumes/{id}", rule("volume:get"), volumes::show;
        put "/volumes/{id}", rule("volume:update"), volumes::update;
        delete "/volumes/{id}", rule("volume:delete"), volumes::delete;

        get "/volumes/{volume_id}/metadata", rule("volume:get_volume_metadata"), metadata::list;
        post "/volumes/{volume_id}/metadata", rule("volume:create_volume_metadata"), metadata::create;
        put "/volumes/{volume_id}/metadata", rule("volume:update_volume_metadata"), metadata::replace;
        get "/volumes/{volume_id}/metadata/{id}", rule("volume:get_volume_metadata"), metadata::show;
        put "/volumes/{volume_id}/metadata/{id}", rule("volume:update_volume_metadata"), metadata::update;
        delete "/volumes/{volume_id}/metadata/{id}", rule("volume:delete_volume_metadata"), metadata::delete;

        action "/volumes/{id}/action" "os-extend", rule("volume:extend"), volume_actions::extend;
        action "/volumes/{id}/action" "os-unmanage", rule("volume_extension:volume_unmanage"), manage::unmanage_volume;
        action "/volumes/{id}/action" "revert", rule("volume:revert_to_snapshot"), volume_actions::revert, since 40;
        action "/volumes/{id}/action" "os-reset_status", rule("volume_extension:volume_admin_actions:reset_status"), volume_actions::reset_status;
        action "/volumes/{id}/action" "os-force_delete", rule("volume_extension:volume_admin_actions:force_delete"), volume_actions::force_delete;
        action "/volumes/{id}/action" "os-force_detach", rule("volume_extension:volume_admin_actions:force_detach"), volume_actions::force_detach;
        action "/volumes/{id}/action" "os-set_bootable", rule("volume:update"), volume_actions::set_bootable;
        action "/volumes/{id}/action" "os-update_readonly_flag", rule("volume:update_readonly_flag"), volume_actions::update_readonly_flag;
        action "/volumes/{id}/action" "os-reserve", rule("volume_extension:volume_actions:reserve"), volume_actions::reserve;
        action "/volumes/{id}/action" "os-unreserve", rule("volume_extension:volume_actions:unreserve"), volume_actions::unreserve;
        action "/volumes/{id}/action" "os-begin_detaching", rule("volume_extension:volume_actions:begin_detaching"), volume_actions::begin_detaching;
        action "/volumes/{id}/action" "os-roll_detaching", rule("volume_extension:volume_actions:roll_detaching"), volume_actions::roll_detaching;
        action "/volumes/{id}/action" "os-attach", rule("volume_extension:volume_actions:attach"), volume_actions::attach;
        action "/volumes/{id}/action" "os-detach", rule("volume_extension:volume_actions:detach"), volume_actions::detach;
        action "/volumes/{id}/action" "os-initialize_connection", rule("volume_extension:volume_actions:initialize_connection"), volume_actions::initialize_connection;
        action "/volumes/{id}/action" "os-terminate_connection", rule("volume_extension:volume_actions:terminate_connection"), volume_actions::terminate_connection;
        action "/volumes/{id}/action" "os-set_image_metadata", rule("volume_extension:volume_image_metadata:set"), volume_actions::set_image_metadata;
        action "/volumes/{id}/action" "os-unset_image_metadata", rule("volume_extension:volume_image_metadata:remove"), volume_actions::unset_image_metadata;
        action "/volumes/{id}/action" "os-show_image_metadata", rule("volume_extension:volume_image_metadata:show"), volume_actions::show_image_metadata;

        get "/snapshots", rule("volume:get_all_snapshots"), snapshots::list;
        get "/snapshots/detail", rule("volume:get_all_snapshots"), snapshots::detail;
        post "/snapshots", rule("volume:create_snapshot"), snapshots::create;
        get "/snapshots/{id}", rule("volume:get_snapshot"), snapshots::show;
        put "/snapshots/{id}", rule("volume:update_snapshot"), snapshots::update;
        delete "/snapshots/{id}", rule("volume:delete_snapshot"), snapshots::delete;
        action "/snapshots/{id}/action" "os-reset_status", rule("volume_extension:snapshot_admin_actions:reset_status"), snapshots::reset_status;
        action "/snapshots/{id}/action" "os-unmanage", rule("snapshot_extension:snapshot_unmanage"), manage::unmanage_snapshot;
        action "/snapshots/{id}/action" "os-force_delete", rule("volume_extension:snapshot_admin_actions:force_delete"), snapshots::force_delete;
        action "/snapshots/{id}/action" "os-update_snapshot_status", rule("snapshot_extension:snapshot_actions:update_snapshot_status"), snapshots::update_status;

        get "/snapshots/{snapshot_id}/metadata", rule("volume:get_snapshot_metadata"), metadata::list;
        post "/snapshots/{snapshot_id}/metadata", rule("volume:update_snapshot_metadata"), metadata::create;
        put "/snapshots/{snapshot_id}/metadata", rule("volume:update_snapshot_metadata"), metadata::replace;
        get "/snapshots/{snapshot_id}/metadata/{id}", rule("volume:get_snapshot_metadata"), metadata::show;
        put "/snapshots/{snapshot_id}/metadata/{id}", rule("volume:update_snapshot_metadata"), metadata::update;
        delete "/snapshots/{snapshot_id}/metadata/{id}", rule("volume:delete_snapshot_metadata"), metadata::delete;

        get "/manageable_volumes", rule("volume_extension:list_manageable"), manage::list_volumes, since 8;
        get "/manageable_volumes/detail", rule("volume_extension:list_manageable"), manage::list_volumes_detail, since 8;
        post "/manageable_volumes", rule("volume_extension:volume_manage"), manage::manage_volume, since 8;
        get "/os-volume-manage", rule("volume_extension:list_manageable"), manage::list_volumes;
        get "/os-volume-manage/detail", rule("volume_extension:list_manageable"), manage::list_volumes_detail;
        post "/os-volume-manage", rule("volume_extension:volume_manage"), manage::manage_volume;
        get "/manageable_snapshots", rule("snapshot_extension:list_manageable"), manage::list_snapshots, since 8;
        get "/manageable_snapshots/detail", rule("snapshot_extension:list_manageable"), manage::list_snapshots_detail, since 8;
        post "/manageable_snapshots", rule("snapshot_extension:snapshot_manage"), manage::manage_snapshot, since 8;
        get "/os-snapshot-manage", rule("snapshot_extension:list_manageable"), manage::list_snapshots;
        get "/os-snapshot-manage/detail", rule("snapshot_extension:list_manageable"), manage::list_snapshots_detail;
        post "/os-snapshot-manage", rule("snapshot_extension:snapshot_manage"), manage::manage_snapshot;

        action "/volumes/{id}/action" "os-volume_upload_image", rule("volume_extension:volume_actions:upload_image"), volume_upload::upload;

        get "/attachments", AUTHENTICATED, attachments::list, since 27;
        get "/attachments/detail", AUTHENTICATED, attachments::detail, since 27;
        post "/attachments", rule("volume:attachment_create"), attachments::create, since 27;
        get "/attachments/{id}", AUTHENTICATED, attachments::show, since 27;
        put "/attachments/{id}", rule("volume:attachment_update"), attachments::update, since 27;
        delete "/attachments/{id}", rule("volume:attachment_delete"), attachments::delete, since 27;
        action "/attachments/{id}/action" "os-complete", rule("volume:attachment_complete"), attachments::complete, since 44;

        get "/backups", rule("backup:get_all"), backups::list;
        get "/backups/detail", rule("backup:get_all"), backups::detail;
        post "/backups", rule("backup:create"), backups::create;
        post "/backups/import_record", rule("backup:backup-import"), backups::import_record;
        get "/backups/{id}", rule("backup:get"), backups::show;
        put "/backups/{id}", rule("backup:update"), backups::update, since 9;
        delete "/backups/{id}", rule("backup:delete"), backups::delete;
        get "/backups/{id}/export_record", rule("backup:export-import"), backups::export_record;
        post "/backups/{id}/restore", rule("backup:restore"), backups::restore;
        action "/backups/{id}/action" "os-reset_status", rule("volume_extension:backup_admin_actions:reset_status"), backups::reset_status;
        action "/backups/{id}/action" "os-force_delete", rule("volume_extension:backup_admin_actions:force_delete"), backups::force_delete;

        get "/types", rule("volume_extension:type_get_all"), types::list;
        post "/types", rule("volume_extension:type_create"), types::create;
        get "/types/{id}", rule("volume_extension:type_get"), types::show;
        put "/types/{id}", rule("volume_extension:type_update"), types::update;
        delete "/types/{id}", rule("volume_extension:type_delete"), types::delete;
        action "/types/{id}/action" "addProjectAccess", rule("volume_extension:volume_type_access:addProjectAccess"), types::add_access;
        action "/types/{id}/action" "removeProjectAccess", rule("volume_extension:volume_type_access:removeProjectAccess"), types::remove_access;
        get "/types/{type_id}/os-volume-type-access", rule("volume_extension:volume_type_access:get_all_for_type"), types::list_access;
        get "/types/{type_id}/extra_specs", rule("volume_extension:types_extra_specs:index"), types::list_specs;
        post "/types/{type_id}/extra_specs", rule("volume_extension:types_extra_specs:create"), types::create_specs;
        get "/types/{type_id}/extra_specs/{id}", rule("volume_extension:types_extra_specs:show"), types::show_spec;
        put "/types/{type_id}/extra_specs/{id}", rule("volume_extension:types_extra_specs:update"), types::update_spec;
        delete "/types/{type_id}/extra_specs/{id}", rule("volume_extension:types_extra_specs:delete"), types::delete_spec;

        get "/types/{type_id}/encryption", rule("volume_extension:volume_type_encryption:get"), encryption::list;
        post "/types/{type_id}/encryption", rule("volume_extension:volume_type_encryption:create"), encryption::create;
        get "/types/{type_id}/encryption/{id}", rule("volume_extension:volume_type_encryption:get"), encryption::show;
        put "/types/{type_id}/encryption/{id}", rule("volume_extension:volume_type_encryption:update"), encryption::update;
        delete "/types/{type_id}/encryption/{id}", rule("volume_extension:volume_type_encryption:delete"), encryption::delete;
        get "/volumes/{volume_id}/encryption", inside("volume_extension:volume_encryption_metadata"), encryption::volume_list;
        get "/volumes/{volume_id}/encryption/{id}", inside("volume_extension:volume_encryption_metadata"), encryption::volume_show;

        get "/qos-specs", rule("volume_extension:qos_specs_manage:get_all"), qos_specs::list;
        post "/qos-specs", rule("volume_extension:qos_specs_manage:create"), qos_specs::create;
        get "/qos-specs/{id}", rule("volume_extension:qos_specs_manage:get"), qos_specs::show;
        put "/qos-specs/{id}", rule("volume_extension:qos_specs_manage:update"), qos_specs::update;
        delete "/qos-specs/{id}", rule("volume_extension:qos_specs_manage:delete"), qos_specs::delete;
        put "/qos-specs/{id}/delete_keys", rule("volume_extension:qos_specs_manage:delete"), qos_specs::delete_keys;
        get "/qos-specs/{id}/associations", rule("volume_extension:qos_specs_manage:get_all"), qos_specs::associations;
        get "/qos-specs/{id}/associate", rule("volume_extension:qos_specs_manage:update"), qos_specs::associate;
        get "/qos-specs/{id}/disassociate", rule("volume_extension:qos_specs_manage:update"), qos_specs::disassociate;
        get "/qos-specs/{id}/disassociate_all", rule("volume_extension:qos_specs_manage:update"), qos_specs::disassociate_all;

        get "/default-types", rule("volume_extension:default_get_all"), default_types::list, since 62;
        get "/default-types/{id}", inside("volume_extension:default_get"), default_types::show, since 62;
        put "/default-types/{id}", inside("volume_extension:default_set_or_update"), default_types::set, since 62;
        delete "/default-types/{id}", inside("volume_extension:default_unset"), default_types::unset, since 62;
        get "/resource_filters", AUTHENTICATED, filters::list, since 33;

        get "/group_types", AUTHENTICATED, group_types::list, since 11;
        post "/group_types", rule("group:group_types:create"), group_types::create, since 11;
        get "/group_types/{id}", AUTHENTICATED, group_types::show, since 11;
        put "/group_types/{id}", rule("group:group_types:update"), group_types::update, since 11;
        delete "/group_types/{id}", rule("group:group_types:delete"), group_types::delete, since 11;
        get "/group_types/{group_type_id}/group_specs", rule("group:group_types_specs:get_all"), group_types::list_specs, since 11;
        post "/group_types/{group_type_id}/group_specs", rule("group:group_types_specs:create"), group_types::create_specs, since 11;
        get "/group_types/{group_type_id}/group_specs/{id}", rule("group:group_types_specs:get"), group_types::show_spec, since 11;
        put "/group_types/{group_type_id}/group_specs/{id}", rule("group:group_types_specs:update"), group_types::update_spec, since 11;
        delete "/group_types/{group_type_id}/group_specs/{id}", rule("group:group_types_specs:delete"), group_types::delete_spec, since 11;

        get "/os-volume-transfer", rule("volume:get_all_transfers"), transfers::list;
        get "/os-volume-transfer/detail", rule("volume:get_all_transfers"), transfers::detail;
        post "/os-volume-transfer", rule("volume:create_transfer"), transfers::create;
        get "/os-volume-transfer/{id}", rule("volume:get_transfer"), transfers::show;
        delete "/os-volume-transfer/{id}", rule("volume:delete_transfer"), transfers::delete;
        post "/os-volume-transfer/{id}/accept", rule("volume:accept_transfer"), transfers::accept;
        get "/volume-transfers", rule("volume:get_all_transfers"), transfers::list, since 55;
        get "/volume-transfers/detail", rule("volume:get_all_transfers"), transfers::detail, since 55;
        post "/volume-transfers", rule("volume:create_transfer"), transfers::create;
        get "/volume-transfers/{id}", rule("volume:get_transfer"), transfers::show, since 55;
        delete "/volume-transfers/{id}", rule("volume:delete_transfer"), transfers::delete, since 55;
        post "/volume-transfers/{id}/accept", rule("volume:accept_transfer"), transfers::accept, since 55;

        get "/messages", rule("message:get_all"), messages::list, since 3;
        get "/messages/{id}", rule("message:get"), messages::show, since 3;
        delete "/messages/{id}", rule("message:delete"), messages::delete, since 3;

        get "/limits", rule("limits_extension:used_limits"), quotas::limits;
        get "/os-quota-sets/{id}", inside("volume_extension:quotas:show"), quotas::show;
        get "/os-quota-sets/{id}/defaults", inside("volume_extension:quotas:show"), quotas::defaults;
        put "/os-quota-sets/{id}", rule("volume_extension:quotas:update"), quotas::update;
        delete "/os-quota-sets/{id}", rule("volume_extension:quotas:delete"), quotas::delete;
        get "/os-quota-class-sets/{id}", rule("volume_extension:quota_classes:get"), quotas::show_class;
        put "/os-quota-class-sets/{id}", rule("volume_extension:quota_classes:update"), quotas::update_class;

        get "/os-services", rule("volume_extension:services:index"), services::list;
        put "/os-services/enable", rule("volume_extension:services:update"), services::enable;
        put "/os-services/disable", rule("volume_extension:services:update"), services::disable;
        put "/os-services/disable-log-reason", rule("volume_extension:services:update"), services::disable_log_reason;
        put "/os-services/freeze", rule("volume:freeze_host"), services::freeze;
        put "/os-services/thaw", rule("volume:thaw_host"), services::thaw;
        put "/os-services/failover_host", rule("volume:failover_host"), services::failover;
        put "/os-services/failover", rule("volume:failover_host"), services::failover, since 26;
        get "/os-hosts", rule("volume_extension:hosts"), hosts::list;
        get "/os-hosts/{id}", rule("volume_extension:hosts"), hosts::show;
        put "/os-hosts/{id}", rule("volume_extension:hosts"), hosts::update;
        get "/capabilities/{id}", rule("volume_extension:capabilities"), hosts::capabilities;
        get "/clusters", rule("clusters:get_all"), clusters::list, since 7;
        get "/clusters/detail", rule("clusters:get_all"), clusters::detail, since 7;
        get "/clusters/{id}", rule("clusters:get"), clusters::show, since 7;
        put "/clusters/enable", rule("clusters:update"), clusters::enable, since 7;
        put "/clusters/disable", rule("clusters:update"), clusters::disable, since 7;
        post "/workers/cleanup", rule("workers:cleanup"), workers::cleanup, since 24;
        get "/scheduler-stats/get_pools", rule("scheduler_extension:scheduler_stats:get_pools"), services::pools;
        get "/os-availability-zone", AUTHENTICATED, services::zones;
    });
    // Default types are asked for without a project from the beginning.
    let bare = |route: Route<Cinder>| route.since(3, 62).until(3, 66);
    all.extend([
        bare(get(
            "/v3/default-types",
            rule("volume_extension:default_get_all"),
            scoped(default_types::list),
        )),
        bare(get(
            "/v3/default-types/{id}",
            inside("volume_extension:default_get"),
            scoped(default_types::show),
        )),
        bare(put(
            "/v3/default-types/{id}",
            inside("volume_extension:default_set_or_update"),
            scoped(default_types::set),
        )),
        bare(delete(
            "/v3/default-types/{id}",
            inside("volume_extension:default_unset"),
            scoped(default_types::unset),
        )),
    ]);
    all
}
