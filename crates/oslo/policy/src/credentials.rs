//! The caller as check strings see it: oslo.policy's credentials dictionary, read out of a [`RequestContext`].

use oslo_context::RequestContext;

/// A credential that a check names on its left side. Resolved when the rule is read, so that a request
/// compares fields and builds no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    UserId,
    UserName,
    UserDomainId,
    UserDomainName,
    ProjectId,
    ProjectName,
    ProjectDomainId,
    DomainId,
    SystemScope,
    ServiceUserId,
    RequestId,
    GlobalRequestId,
    Roles,
    ServiceRoles,
    IsAdmin,
    IsAdminProject,
}

/// What is behind a credential.
pub(crate) enum Held<'c> {
    Text(Option<&'c str>),
    List(&'c [String]),
    Flag(bool),
}

impl Credential {
    /// By the names of oslo.context (old ones included) and, dotted, of keystone's token.
    pub(crate) fn parse(name: &str) -> Option<Credential> {
        Some(match name {
            "user_id" | "user" | "token.user.id" | "token.user_id" => Credential::UserId,
            "user_name" | "token.user.name" => Credential::UserName,
            "user_domain_id" | "user_domain" | "token.user.domain.id" | "token.user_domain_id" => {
                Credential::UserDomainId
            }
            "user_domain_name" | "token.user.domain.name" => Credential::UserDomainName,
            "project_id" | "project" | "tenant_id" | "tenant" | "token.project.id"
            | "token.project_id" => Credential::ProjectId,
            "project_name" | "tenant_name" | "token.project.name" => Credential::ProjectName,
            "project_domain_id" | "project_domain" | "token.project.domain.id" => {
                Credential::ProjectDomainId
            }
            "domain_id" | "domain" | "token.domain.id" | "token.domain_id" => Credential::DomainId,
            "system_scope" | "system" => Credential::SystemScope,
            "service_user_id" => Credential::ServiceUserId,
            "request_id" => Credential::RequestId,
            "global_request_id" => Credential::GlobalRequestId,
            "roles" | "token.roles.name" => Credential::Roles,
            "service_roles" => Credential::ServiceRoles,
            "is_admin" => Credential::IsAdmin,
            "is_admin_project" | "token.is_admin_project" => Credential::IsAdminProject,
            _ => return None,
        })
    }

    pub(crate) fn of(self, ctx: &RequestContext) -> Held<'_> {
        match self {
            Credential::UserId => Held::Text(ctx.user_id.as_deref()),
            Credential::UserName => Held::Text(ctx.user_name.as_deref()),
            Credential::UserDomainId => Held::Text(ctx.user_domain_id.as_deref()),
            Credential::UserDomainName => Held::Text(ctx.user_domain_name.as_deref()),
            Credential::ProjectId => Held::Text(ctx.project_id.as_deref()),
            Credential::ProjectName => Held::Text(ctx.project_name.as_deref()),
            Credential::ProjectDomainId => Held::Text(ctx.project_domain_id.as_deref()),
            Credential::DomainId => Held::Text(ctx.domain_id.as_deref()),
            Credential::SystemScope => Held::Text(ctx.system_scope.as_deref()),
            Credential::ServiceUserId => Held::Text(ctx.service_user_id.as_deref()),
            Credential::RequestId => Held::Text(Some(&ctx.request_id)),
            Credential::GlobalRequestId => Held::Text(ctx.global_request_id.as_deref()),
            Credential::Roles => Held::List(&ctx.roles),
            Credential::ServiceRoles => Held::List(&ctx.service_roles),
            Credential::IsAdmin => Held::Flag(ctx.is_admin),
            // oslo.context says True unless an admin project is configured in keystone, which we do not offer.
            Credential::IsAdminProject => Held::Flag(true),
        }
    }
}
