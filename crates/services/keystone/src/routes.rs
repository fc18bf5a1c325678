//! The whole HTTP surface on one page.
//!
//! Every rule is checked inside: keystone's rules ask about the user, group, project, domain or role in question,
//! and a token of a wrong scope is refused in keystone's own words.

use crate::Keystone;
use crate::api::*;
use oslo_http::{PUBLIC, Route, delete, get, inside, patch, post, put};

pub(crate) fn routes() -> Vec<Route<Keystone>> {
    vec![
        get("/", PUBLIC, versions::all),
        get("/healthcheck", PUBLIC, versions::health),
        get("/v3", PUBLIC, versions::show),
        // tokens
        post("/v3/auth/tokens", PUBLIC, tokens::create),
        get(
            "/v3/auth/tokens",
            inside("identity:validate_token"),
            tokens::show,
        ),
        delete(
            "/v3/auth/tokens",
            inside("identity:revoke_token"),
            tokens::delete,
        ),
        get(
            "/v3/auth/projects",
            inside("identity:get_auth_projects"),
            auth_scopes::list_projects,
        ),
        get(
            "/v3/auth/domains",
            inside("identity:get_auth_domains"),
            auth_scopes::list_domains,
        ),
        get(
            "/v3/auth/system",
            inside("identity:get_auth_system"),
            auth_scopes::show_system,
        ),
        get(
            "/v3/auth/catalog",
            inside("identity:get_auth_catalog"),
            auth_scopes::show_catalog,
        ),
        // domains and projects
        get(
            "/v3/domains",
            inside("identity:list_domains"),
            domains::list,
        ),
        post(
            "/v3/domains",
            inside("identity:create_domain"),
            domains::create,
        ),
        get(
            "/v3/domains/{domain_id}",
            inside("identity:get_domain"),
            domains::show,
        ),
        patch(
            "/v3/domains/{domain_id}",
            inside("identity:update_domain"),
            domains::update,
        ),
        delete(
            "/v3/domains/{domain_id}",
            inside("identity:delete_domain"),
            domains::delete,
        ),
        get(
            "/v3/projects",
            inside("identity:list_projects"),
            projects::list,
        ),
        post(
            "/v3/projects",
            inside("identity:create_project"),
            projects::create,
        ),
        get(
            "/v3/projects/{project_id}",
            inside("identity:get_project"),
            projects::show,
        ),
        patch(
            "/v3/projects/{project_id}",
            inside("identity:update_project"),
            projects::update,
        ),
        delete(
            "/v3/projects/{project_id}",
            inside("identity:delete_project"),
            projects::delete,
        ),
        get(
            "/v3/projects/{project_id}/tags",
            inside("identity:list_project_tags"),
            tags::list,
        ),
        put(
            "/v3/projects/{project_id}/tags",
            inside("identity:update_project_tags"),
            tags::replace,
        ),
        delete(
            "/v3/projects/{project_id}/tags",
            inside("identity:delete_project_tags"),
            tags::delete_all,
        ),
        get(
            "/v3/projects/{project_id}/tags/{value}",
            inside("identity:get_project_tag"),
            tags::show,
        ),
        put(
            "/v3/projects/{project_id}/tags/{value}",
            inside("identity:create_project_tag"),
            tags::add,
        ),
        delete(
            "/v3/projects/{project_id}/tags/{value}",
            inside("identity:delete_project_tag"),
            tags::delete,
        ),
    ]
}
