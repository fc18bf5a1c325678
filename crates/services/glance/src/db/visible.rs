//! Who sees which image: once for a row, once as a condition of a list.

use super::ImageRow;
use glance_types::{MemberStatus, Visibility};
use oslo_context::RequestContext;
use oslo_db::sea_query::{Condition, Expr, ExprTrait, Query};
use oslo_db::{Cond, all, any, eq, everything, nothing};

/// Whether the caller sees all images. Images belong to projects: outside of one nobody is their administrator, whatever
/// roles they have on the system or on a domain.
fn sees_all(ctx: &RequestContext) -> bool {
    ctx.is_admin && ctx.system_scope.is_none() && ctx.domain_id.is_none()
}

/// Whether the caller may know that the image exists.
pub fn may_see(ctx: &RequestContext, row: &ImageRow, is_member: bool) -> bool {
    let own = row.owner.is_some() && row.owner == ctx.project_id;
    match row.visibility {
        _ if sees_all(ctx) || own => true,
        Visibility::Public | Visibility::Community => true,
        Visibility::Shared => is_member,
        Visibility::Private => false,
    }
}

/// What a list shows. `visibility` is what the caller asked for; without, community images of others stay out.
pub fn listed(
    ctx: &RequestContext,
    visibility: Option<Visibility>,
    everything_visible: bool,
    member_status: Option<MemberStatus>,
) -> Cond {
    let own = || match &ctx.project_id {
        Some(project) => eq("owner", project),
        None => nothing(),
    };
    let is = |v: Visibility| eq("visibility", v);
    let lent = || {
        all([
            is(Visibility::Shared),
            lent_to(ctx.project(), member_status),
        ])
    };
    match (visibility, sees_all(ctx)) {
        (None, true) => everything(),
        (Some(v), true) => is(v),
        (None, false) if everything_visible => any([
            own(),
            is(Visibility::Public),
            is(Visibility::Community),
            lent(),
        ]),
        (None, false) => any([own(), is(Visibility::Public), lent()]),
        (Some(Visibility::Private), false) => all([own(), is(Visibility::Private)]),
        (Some(Visibility::Shared), false) => any([all([own(), is(Visibility::Shared)]), lent()]),
        (Some(v), false) => is(v),
    }
}

/// Images of which the project is a member.
fn lent_to(project: &str, status: Option<MemberStatus>) -> Cond {
    let mut members = Query::select();
    members
        .column("image")
        .from("image_members")
        .cond_where(eq("member", project));
    if let Some(status) = status {
        members.cond_where(eq("status", status));
    }
    Condition::all().add(Expr::col("id").in_subquery(members))
}

/// Images with a tag.
pub fn tagged(tag: &str) -> Cond {
    let mut tags = Query::select();
    tags.column("image")
        .from("image_tags")
        .cond_where(eq("tag", tag));
    Condition::all().add(Expr::col("id").in_subquery(tags))
}

/// Images with a custom property of this value.
pub fn with_property(name: &str, value: &str) -> Cond {
    let mut properties = Query::select();
    properties
        .column("image")
        .from("image_properties")
        .cond_where(all([eq("name", name), eq("value", value)]));
    Condition::all().add(Expr::col("id").in_subquery(properties))
}
