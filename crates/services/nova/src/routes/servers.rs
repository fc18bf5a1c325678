//! Servers and what belongs to them.

use crate::Nova;
use crate::api::{attachments, external_events, interfaces, server_actions as act, server_metadata, server_tags, servers, servers_create};
use oslo_http::{Route, action, delete, get, post, put, rule};

const ONE: &str = "/v2.1/servers/{server_id}";
const ACTION: &str = "/v2.1/servers/{server_id}/action";

pub(super) fn routes() -> Vec<Route<Nova>> {
    vec![
        get("/v2.1/servers", rule("os_compute_api:servers:index"), servers::list),
        post("/v2.1/servers", rule("os_compute_api:servers:create"), servers_create::create),
        get("/v2.1/servers/detail", rule("os_compute_api:servers:detail"), servers::detail),
        get(ONE, rule("os_compute_api:servers:show"), servers::show),
        put(ONE, rule("os_compute_api:servers:update"), servers::update),
        delete(ONE, rule("os_compute_api:servers:delete"), servers::delete),
        action(ACTION, "os-start", rule("os_compute_api:servers:start"), act::start),
        action(ACTION, "os-stop", rule("os_compute_api:servers:stop"), act::stop),
        action(ACTION, "reboot", rule("os_compute_api:servers:reboot"), act::reboot),
        action(ACTION, "pause", rule("os_compute_api:os-pause-server:pause"), act::pause),
        action(ACTION, "unpause", rule("os_compute_api:os-pause-server:unpause"), act::unpause),
        action(ACTION, "suspend", rule("os_compute_api:os-suspend-server:suspend"), act::suspend),
        action(ACTION, "resume", rule("os_compute_api:os-suspend-server:resume"), act::resume),
        action(ACTION, "lock", rule("os_compute_api:os-lock-server:lock"), act::lock),
        action(ACTION, "unlock", rule("os_compute_api:os-lock-server:unlock"), act::unlock),
        action(ACTION, "forceDelete", rule("os_compute_api:os-deferred-delete:force"), act::force_delete),
        action(ACTION, "os-resetState", rule("os_compute_api:os-admin-actions:reset_state"), act::reset_state),
        action(ACTION, "os-getConsoleOutput", rule("os_compute_api:os-console-output"), act::console_output),
        action(ACTION, "addSecurityGroup", rule("os_compute_api:os-security-groups:add"), act::add_security_group),
        action(ACTION, "removeSecurityGroup", rule("os_compute_api:os-security-groups:remove"), act::remove_security_group),
        get("/v2.1/servers/{server_id}/diagnostics", rule("os_compute_api:os-server-diagnostics"), act::diagnostics),
        get("/v2.1/servers/{server_id}/ips", rule("os_compute_api:ips:index"), servers::ips),
        get("/v2.1/servers/{server_id}/ips/{label}", rule("os_compute_api:ips:show"), servers::ips_of),
        get("/v2.1/servers/{server_id}/os-security-groups", rule("os_compute_api:os-security-groups:list"), servers::security_groups),
        get("/v2.1/servers/{server_id}/metadata", rule("os_compute_api:server-metadata:index"), server_metadata::list),
        post("/v2.1/servers/{server_id}/metadata", rule("os_compute_api:server-metadata:create"), server_metadata::create),
        put("/v2.1/servers/{server_id}/metadata", rule("os_compute_api:server-metadata:update_all"), server_metadata::update_all),
        get("/v2.1/servers/{server_id}/metadata/{key}", rule("os_compute_api:server-metadata:show"), server_metadata::show),
        put("/v2.1/servers/{server_id}/metadata/{key}", rule("os_compute_api:server-metadata:update"), server_metadata::update),
        delete("/v2.1/servers/{server_id}/metadata/{key}", rule("os_compute_api:server-metadata:delete"), server_metadata::delete),
        get("/v2.1/servers/{server_id}/tags", rule("os_compute_api:os-server-tags:index"), server_tags::list).since(2, 26),
        put("/v2.1/servers/{server_id}/tags", rule("os_compute_api:os-server-tags:update_all"), server_tags::replace).since(2, 26),
        delete("/v2.1/servers/{server_id}/tags", rule("os_compute_api:os-server-tags:delete_all"), server_tags::clear).since(2, 26),
        get("/v2.1/servers/{server_id}/tags/{tag}", rule("os_compute_api:os-server-tags:show"), server_tags::show).since(2, 26),
        put("/v2.1/servers/{server_id}/tags/{tag}", rule("os_compute_api:os-server-tags:update"), server_tags::add).since(2, 26),
        delete("/v2.1/servers/{server_id}/tags/{tag}", rule("os_compute_api:os-server-tags:delete"), server_tags::remove).since(2, 26),
        get("/v2.1/servers/{server_id}/os-interface", rule("os_compute_api:os-attach-interfaces:list"), interfaces::list),
        post("/v2.1/servers/{server_id}/os-interface", rule("os_compute_api:os-attach-interfaces:create"), interfaces::create),
        get("/v2.1/servers/{server_id}/os-interface/{port_id}", rule("os_compute_api:os-attach-interfaces:show"), interfaces::show),
        delete("/v2.1/servers/{server_id}/os-interface/{port_id}", rule("os_compute_api:os-attach-interfaces:delete"), interfaces::delete),
        get("/v2.1/servers/{server_id}/os-volume_attachments", rule("os_compute_api:os-volumes-attachments:index"), attachments::list),
        post("/v2.1/servers/{server_id}/os-volume_attachments", rule("os_compute_api:os-volumes-attachments:create"), attachments::create),
        get("/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}", rule("os_compute_api:os-volumes-attachments:show"), attachments::show),
        delete("/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}", rule("os_compute_api:os-volumes-attachments:delete"), attachments::delete),
        post("/v2.1/os-server-external-events", rule("os_compute_api:os-server-external-events:create"), external_events::create),
    ]
}
