//! Everything that is not a server: flavors, keys, hosts, quotas, consoles, versions.

use crate::Nova;
use crate::api::{
    aggregates, availability_zones, console_auth_tokens, extensions, flavor_access,
    flavor_extra_specs, flavors, hypervisors, instance_actions, keypairs, limits, quota_class_sets,
    quota_sets, remote_consoles, security_groups, server_groups, services, simple_tenant_usage,
    versions,
};
use oslo_http::{AUTHENTICATED, PUBLIC, Route, action, delete, get, inside, post, put, rule};

/// Every row.
pub fn routes() -> Vec<Route<Nova>> {
    let mut rows = sizes_and_keys();
    rows.extend(hosts());
    rows.extend(quotas());
    rows.extend(of_servers());
    rows.extend(groups());
    rows
}

fn sizes_and_keys() -> Vec<Route<Nova>> {
    const ACCESS: &str = "/v2.1/flavors/{id}/action";
    vec![
        get("/", PUBLIC, versions::list),
        get("/v2", PUBLIC, versions::legacy),
        get("/v2.0", PUBLIC, versions::legacy),
        get("/v2.1", PUBLIC, versions::current),
        get(
            "/v2.1/extensions",
            rule("os_compute_api:extensions"),
            extensions::list,
        ),
        get(
            "/v2.1/extensions/{id}",
            rule("os_compute_api:extensions"),
            extensions::show,
        ),
        get("/v2.1/flavors", AUTHENTICATED, flavors::list),
        post(
            "/v2.1/flavors",
            rule("os_compute_api:os-flavor-manage:create"),
            flavors::create,
        ),
        get("/v2.1/flavors/detail", AUTHENTICATED, flavors::detail),
        get("/v2.1/flavors/{id}", AUTHENTICATED, flavors::show),
        put(
            "/v2.1/flavors/{id}",
            rule("os_compute_api:os-flavor-manage:update"),
            flavors::update,
        )
        .since(2, 55),
        delete(
            "/v2.1/flavors/{id}",
            rule("os_compute_api:os-flavor-manage:delete"),
            flavors::delete,
        ),
        get(
            "/v2.1/flavors/{flavor_id}/os-extra_specs",
            rule("os_compute_api:os-flavor-extra-specs:index"),
            flavor_extra_specs::list,
        ),
        post(
            "/v2.1/flavors/{flavor_id}/os-extra_specs",
            rule("os_compute_api:os-flavor-extra-specs:create"),
            flavor_extra_specs::create,
        ),
        get(
            "/v2.1/flavors/{flavor_id}/os-extra_specs/{id}",
            rule("os_compute_api:os-flavor-extra-specs:show"),
            flavor_extra_specs::show,
        ),
        put(
            "/v2.1/flavors/{flavor_id}/os-extra_specs/{id}",
            rule("os_compute_api:os-flavor-extra-specs:update"),
            flavor_extra_specs::update,
        ),
        delete(
            "/v2.1/flavors/{flavor_id}/os-extra_specs/{id}",
            rule("os_compute_api:os-flavor-extra-specs:delete"),
            flavor_extra_specs::delete,
        ),
        get(
            "/v2.1/flavors/{flavor_id}/os-flavor-access",
            rule("os_compute_api:os-flavor-access"),
            flavor_access::list,
        ),
        action(
            ACCESS,
            "addTenantAccess",
            rule("os_compute_api:os-flavor-access:add_tenant_access"),
            flavor_access::add,
        ),
        action(
            ACCESS,
            "removeTenantAccess",
            rule("os_compute_api:os-flavor-access:remove_tenant_access"),
            flavor_access::remove,
        ),
        get(
            "/v2.1/os-keypairs",
            inside("os_compute_api:os-keypairs:index"),
            keypairs::list,
        ),
        post(
            "/v2.1/os-keypairs",
            inside("os_compute_api:os-keypairs:create"),
            keypairs::create,
        ),
        get(
            "/v2.1/os-keypairs/{id}",
            inside("os_compute_api:os-keypairs:show"),
            keypairs::show,
        ),
        delete(
            "/v2.1/os-keypairs/{id}",
            inside("os_compute_api:os-keypairs:delete"),
            keypairs::delete,
        ),
    ]
}

fn hosts() -> Vec<Route<Nova>> {
    const AGGREGATE: &str = "/v2.1/os-aggregates/{id}/action";
    vec![
        get(
            "/v2.1/os-aggregates",
            rule("os_compute_api:os-aggregates:index"),
            aggregates::list,
        ),
        post(
            "/v2.1/os-aggregates",
            rule("os_compute_api:os-aggregates:create"),
            aggregates::create,
        ),
        get(
            "/v2.1/os-aggregates/{id}",
            rule("os_compute_api:os-aggregates:show"),
            aggregates::show,
        ),
        put(
            "/v2.1/os-aggregates/{id}",
            rule("os_compute_api:os-aggregates:update"),
            aggregates::update,
        ),
        delete(
            "/v2.1/os-aggregates/{id}",
            rule("os_compute_api:os-aggregates:delete"),
            aggregates::delete,
        ),
        action(
            AGGREGATE,
            "add_host",
            rule("os_compute_api:os-aggregates:add_host"),
            aggregates::add_host,
        ),
        action(
            AGGREGATE,
            "remove_host",
            rule("os_compute_api:os-aggregates:remove_host"),
            aggregates::remove_host,
        ),
        action(
            AGGREGATE,
            "set_metadata",
            rule("os_compute_api:os-aggregates:set_metadata"),
            aggregates::set_metadata,
        ),
        get(
            "/v2.1/os-availability-zone",
            rule("os_compute_api:os-availability-zone:list"),
            availability_zones::list,
        ),
        get(
            "/v2.1/os-availability-zone/detail",
            rule("os_compute_api:os-availability-zone:detail"),
            availability_zones::detail,
        ),
        get(
            "/v2.1/os-services",
            rule("os_compute_api:os-services:list"),
            services::list,
        ),
        put(
            "/v2.1/os-services/{id}",
            rule("os_compute_api:os-services:update"),
            services::update,
        ),
        delete(
            "/v2.1/os-services/{id}",
            rule("os_compute_api:os-services:delete"),
            services::delete,
        ),
        get(
            "/v2.1/os-hypervisors",
            rule("os_compute_api:os-hypervisors:list"),
            hypervisors::list,
        ),
        get(
            "/v2.1/os-hypervisors/detail",
            rule("os_compute_api:os-hypervisors:list-detail"),
            hypervisors::detail,
        ),
        get(
            "/v2.1/os-hypervisors/statistics",
            rule("os_compute_api:os-hypervisors:statistics"),
            hypervisors::statistics,
        )
        .until(2, 87),
        get(
            "/v2.1/os-hypervisors/{id}",
            rule("os_compute_api:os-hypervisors:show"),
            hypervisors::show,
        ),
        get(
            "/v2.1/os-hypervisors/{id}/search",
            rule("os_compute_api:os-hypervisors:search"),
            hypervisors::search_by_name,
        )
        .until(2, 52),
        get(
            "/v2.1/os-hypervisors/{id}/servers",
            rule("os_compute_api:os-hypervisors:servers"),
            hypervisors::servers,
        )
        .until(2, 52),
        get(
            "/v2.1/os-hypervisors/{id}/uptime",
            rule("os_compute_api:os-hypervisors:uptime"),
            hypervisors::uptime,
        )
        .until(2, 87),
    ]
}

fn quotas() -> Vec<Route<Nova>> {
    vec![
        get("/v2.1/limits", rule("os_compute_api:limits"), limits::show),
        get(
            "/v2.1/os-quota-sets/{id}",
            inside("os_compute_api:os-quota-sets:show"),
            quota_sets::show,
        ),
        put(
            "/v2.1/os-quota-sets/{id}",
            rule("os_compute_api:os-quota-sets:update"),
            quota_sets::update,
        ),
        delete(
            "/v2.1/os-quota-sets/{id}",
            rule("os_compute_api:os-quota-sets:delete"),
            quota_sets::delete,
        ),
        get(
            "/v2.1/os-quota-sets/{id}/defaults",
            rule("os_compute_api:os-quota-sets:defaults"),
            quota_sets::defaults,
        ),
        get(
            "/v2.1/os-quota-sets/{id}/detail",
            inside("os_compute_api:os-quota-sets:detail"),
            quota_sets::detail,
        ),
        get(
            "/v2.1/os-quota-class-sets/{id}",
            rule("os_compute_api:os-quota-class-sets:show"),
            quota_class_sets::show,
        ),
        put(
            "/v2.1/os-quota-class-sets/{id}",
            rule("os_compute_api:os-quota-class-sets:update"),
            quota_class_sets::update,
        ),
        get(
            "/v2.1/os-simple-tenant-usage",
            rule("os_compute_api:os-simple-tenant-usage:list"),
            simple_tenant_usage::list,
        ),
        get(
            "/v2.1/os-simple-tenant-usage/{id}",
            inside("os_compute_api:os-simple-tenant-usage:show"),
            simple_tenant_usage::show,
        ),
        get(
            "/v2.1/os-server-groups",
            rule("os_compute_api:os-server-groups:index"),
            server_groups::list,
        ),
        post(
            "/v2.1/os-server-groups",
            rule("os_compute_api:os-server-groups:create"),
            server_groups::create,
        ),
        get(
            "/v2.1/os-server-groups/{id}",
            rule("os_compute_api:os-server-groups:show"),
            server_groups::show,
        ),
        delete(
            "/v2.1/os-server-groups/{id}",
            rule("os_compute_api:os-server-groups:delete"),
            server_groups::delete,
        ),
    ]
}

fn of_servers() -> Vec<Route<Nova>> {
    const ONE: &str = "/v2.1/servers/{server_id}/action";
    const CONSOLES: &str = "os_compute_api:os-remote-consoles";
    vec![
        get(
            "/v2.1/servers/{server_id}/os-instance-actions",
            rule("os_compute_api:os-instance-actions:list"),
            instance_actions::list,
        ),
        get(
            "/v2.1/servers/{server_id}/os-instance-actions/{id}",
            rule("os_compute_api:os-instance-actions:show"),
            instance_actions::show,
        ),
        post(
            "/v2.1/servers/{server_id}/remote-consoles",
            rule(CONSOLES),
            remote_consoles::create,
        )
        .since(2, 6),
        action(
            ONE,
            "os-getVNCConsole",
            rule(CONSOLES),
            remote_consoles::get_vnc,
        )
        .until(2, 5),
        get(
            "/v2.1/os-console-auth-tokens/{id}",
            rule("os_compute_api:os-console-auth-tokens"),
            console_auth_tokens::show,
        ),
    ]
}

/// Gone since 2.36: callers were to turn to neutron.
fn groups() -> Vec<Route<Nova>> {
    const GROUPS: &str = "/v2.1/os-security-groups";
    const GROUP: &str = "/v2.1/os-security-groups/{id}";
    let rows = vec![
        get(
            GROUPS,
            rule("os_compute_api:os-security-groups:get"),
            security_groups::list,
        ),
        post(
            GROUPS,
            rule("os_compute_api:os-security-groups:create"),
            security_groups::create,
        ),
        get(
            GROUP,
            rule("os_compute_api:os-security-groups:show"),
            security_groups::show,
        ),
        put(
            GROUP,
            rule("os_compute_api:os-security-groups:update"),
            security_groups::update,
        ),
        delete(
            GROUP,
            rule("os_compute_api:os-security-groups:delete"),
            security_groups::delete,
        ),
        post(
            "/v2.1/os-security-group-rules",
            rule("os_compute_api:os-security-groups:rule:create"),
            security_groups::create_rule,
        ),
        delete(
            "/v2.1/os-security-group-rules/{id}",
            rule("os_compute_api:os-security-groups:rule:delete"),
            security_groups::delete_rule,
        ),
    ];
    rows.into_iter().map(|r| r.until(2, 35)).collect()
}
