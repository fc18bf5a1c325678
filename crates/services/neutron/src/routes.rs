//! The whole HTTP surface on one page.

use crate::agents::Agents;
use crate::floatingips::FloatingIps;
use crate::groups::{self, Groups};
use crate::networks::Networks;
use crate::ports::Ports;
use crate::rbac::Rbac;
use crate::routers::Routers;
use crate::rules::Rules;
use crate::subnets::Subnets;
use crate::{Neutron, availability, crud, interfaces, quota, scheduling, tags, versions};
use oslo_http::{AUTHENTICATED, PUBLIC, Route, delete, get, inside, post, put};

/// The five routes of a resource. The rules need the resource as target, so the pipeline checks them.
macro_rules! resource {
    ($noun:ty, $path:literal, $get:literal, $create:literal, $update:literal, $delete:literal) => {
        vec![
            get($path, inside($get), crud::list::<$noun>),
            post($path, inside($create), crud::create::<$noun>),
            get(concat!($path, "/{id}"), inside($get), crud::show::<$noun>),
            put(
                concat!($path, "/{id}"),
                inside($update),
                crud::update::<$noun>,
            ),
            delete(
                concat!($path, "/{id}"),
                inside($delete),
                crud::delete::<$noun>,
            ),
        ]
    };
}

macro_rules! tagged {
    ($noun:ty, $path:literal, $rule:literal) => {
        vec![
            get(
                concat!($path, "/{id}/tags"),
                inside(concat!("get_", $rule, ":tags")),
                tags::list::<$noun>,
            ),
            post(
                concat!($path, "/{id}/tags"),
                inside(concat!("create_", $rule, ":tags")),
                tags::add_many::<$noun>,
            ),
            put(
                concat!($path, "/{id}/tags"),
                inside(concat!("update_", $rule, ":tags")),
                tags::replace_all::<$noun>,
            ),
            delete(
                concat!($path, "/{id}/tags"),
                inside(concat!("delete_", $rule, ":tags")),
                tags::remove_all::<$noun>,
            ),
            get(
                concat!($path, "/{id}/tags/{tag}"),
                inside(concat!("get_", $rule, ":tags")),
                tags::show::<$noun>,
            ),
            put(
                concat!($path, "/{id}/tags/{tag}"),
                inside(concat!("update_", $rule, ":tags")),
                tags::add::<$noun>,
            ),
            delete(
                concat!($path, "/{id}/tags/{tag}"),
                inside(concat!("delete_", $rule, ":tags")),
                tags::remove::<$noun>,
            ),
        ]
    };
}

/// Every row.
pub(crate) fn routes() -> Vec<Route<Neutron>> {
    let mut rows = vec![
        get("/", PUBLIC, versions::root),
        get("/v2.0", PUBLIC, versions::v2),
        get("/v2.0/extensions", AUTHENTICATED, versions::extensions),
        get(
            "/v2.0/extensions/{alias}",
            AUTHENTICATED,
            versions::extension,
        ),
        get(
            "/v2.0/availability_zones",
            inside("get_availability_zone"),
            availability::zones,
        ),
        get(
            "/v2.0/service-providers",
            inside("get_service_provider"),
            availability::providers,
        ),
        get(
            "/v2.0/network-ip-availabilities",
            inside("get_network_ip_availability"),
            availability::addresses,
        ),
        get(
            "/v2.0/network-ip-availabilities/{id}",
            inside("get_network_ip_availability"),
            availability::addresses_of,
        ),
        put(
            "/v2.0/routers/{id}/add_router_interface",
            inside("add_router_interface"),
            interfaces::add,
        ),
        put(
            "/v2.0/routers/{id}/remove_router_interface",
            inside("remove_router_interface"),
            interfaces::remove,
        ),
        put(
            "/v2.0/routers/{id}/add_extraroutes",
            inside("add_extraroutes"),
            interfaces::add_routes,
        ),
        put(
            "/v2.0/routers/{id}/remove_extraroutes",
            inside("remove_extraroutes"),
            interfaces::remove_routes,
        ),
        get(
            "/v2.0/networks/{id}/dhcp-agents",
            inside("get_dhcp-agents"),
            scheduling::agents_of_network,
        ),
        get(
            "/v2.0/routers/{id}/l3-agents",
            inside("get_l3-agents"),
            scheduling::agents_of_router,
        ),
        get("/v2.0/agents", inside("get_agent"), crud::list::<Agents>),
        get(
            "/v2.0/agents/{id}",
            inside("get_agent"),
            crud::show::<Agents>,
        ),
        put(
            "/v2.0/agents/{id}",
            inside("update_agent"),
            crud::update::<Agents>,
        ),
        delete(
            "/v2.0/agents/{id}",
            inside("delete_agent"),
            crud::delete::<Agents>,
        ),
        get(
            "/v2.0/agents/{id}/dhcp-networks",
            inside("get_dhcp-networks"),
            scheduling::networks_of_agent,
        ),
        post(
            "/v2.0/agents/{id}/dhcp-networks",
            inside("create_dhcp-network"),
            scheduling::add_network,
        ),
        delete(
            "/v2.0/agents/{id}/dhcp-networks/{other}",
            inside("delete_dhcp-network"),
            scheduling::remove_network,
        ),
        get(
            "/v2.0/agents/{id}/l3-routers",
            inside("get_l3-routers"),
            scheduling::routers_of_agent,
        ),
        post(
            "/v2.0/agents/{id}/l3-routers",
            inside("create_l3-router"),
            scheduling::add_router,
        ),
        delete(
            "/v2.0/agents/{id}/l3-routers/{other}",
            inside("delete_l3-router"),
            scheduling::remove_router,
        ),
        get("/v2.0/quotas", inside("get_quota"), quota::list),
        get(
            "/v2.0/quotas/tenant",
            inside("get_quota"),
            quota::own_project,
        ),
        get(
            "/v2.0/quotas/project",
            inside("get_quota"),
            quota::own_project,
        ),
        get("/v2.0/quotas/{id}", inside("get_quota"), quota::show),
        put("/v2.0/quotas/{id}", inside("update_quota"), quota::update),
        delete("/v2.0/quotas/{id}", inside("delete_quota"), quota::delete),
        get(
            "/v2.0/quotas/{id}/default",
            inside("get_quota"),
            quota::default,
        ),
        get(
            "/v2.0/quotas/{id}/details",
            inside("get_quota"),
            quota::details,
        ),
    ];
    rows.extend(resource!(
        Networks,
        "/v2.0/networks",
        "get_network",
        "create_network",
        "update_network",
        "delete_network"
    ));
    rows.extend(resource!(
        Subnets,
        "/v2.0/subnets",
        "get_subnet",
        "create_subnet",
        "update_subnet",
        "delete_subnet"
    ));
    rows.extend(resource!(
        Ports,
        "/v2.0/ports",
        "get_port",
        "create_port",
        "update_port",
        "delete_port"
    ));
    rows.extend(resource!(
        Routers,
        "/v2.0/routers",
        "get_router",
        "create_router",
        "update_router",
        "delete_router"
    ));
    rows.extend(resource!(
        FloatingIps,
        "/v2.0/floatingips",
        "get_floatingip",
        "create_floatingip",
        "update_floatingip",
        "delete_floatingip"
    ));
    rows.extend(resource!(
        Rbac,
        "/v2.0/rbac-policies",
        "get_rbac_policy",
        "create_rbac_policy",
        "update_rbac_policy",
        "delete_rbac_policy"
    ));
    rows.extend([
        get(
            "/v2.0/security-group-rules",
            inside("get_security_group_rule"),
            crud::list::<Rules>,
        ),
        post(
            "/v2.0/security-group-rules",
            inside("create_security_group_rule"),
            crud::create::<Rules>,
        ),
        get(
            "/v2.0/security-group-rules/{id}",
            inside("get_security_group_rule"),
            crud::show::<Rules>,
        ),
        delete(
            "/v2.0/security-group-rules/{id}",
            inside("delete_security_group_rule"),
            crud::delete::<Rules>,
        ),
        get(
            "/v2.0/security-groups",
            inside("get_security_group"),
            groups::list,
        ),
        post(
            "/v2.0/security-groups",
            inside("create_security_group"),
            crud::create::<Groups>,
        ),
        get(
            "/v2.0/security-groups/{id}",
            inside("get_security_group"),
            crud::show::<Groups>,
        ),
        put(
            "/v2.0/security-groups/{id}",
            inside("update_security_group"),
            crud::update::<Groups>,
        ),
        delete(
            "/v2.0/security-groups/{id}",
            inside("delete_security_group"),
            crud::delete::<Groups>,
        ),
    ]);
    rows.extend(tagged!(Networks, "/v2.0/networks", "network"));
    rows.extend(tagged!(Subnets, "/v2.0/subnets", "subnet"));
    rows.extend(tagged!(Ports, "/v2.0/ports", "port"));
    rows.extend(tagged!(Routers, "/v2.0/routers", "router"));
    rows.extend(tagged!(FloatingIps, "/v2.0/floatingips", "floatingip"));
    rows.extend(tagged!(Groups, "/v2.0/security-groups", "security_group"));
    rows
}
