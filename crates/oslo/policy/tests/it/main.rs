//! The policy language and its enforcer, through the public interface.

mod data;
mod enforcer;
mod language;

use oslo_context::RequestContext;

/// A member of project `p1`.
fn member() -> RequestContext {
    RequestContext {
        user_id: Some("u1".into()),
        user_domain_id: Some("d1".into()),
        project_id: Some("p1".into()),
        project_domain_id: Some("d2".into()),
        roles: vec!["Member".into(), "reader".into()],
        service_roles: vec!["service".into()],
        ..RequestContext::anonymous()
    }
}

fn admin() -> RequestContext {
    RequestContext {
        roles: vec!["admin".into()],
        ..member()
    }
}

fn with_domain_scope() -> RequestContext {
    RequestContext {
        project_id: None,
        project_domain_id: None,
        domain_id: Some("d1".into()),
        ..member()
    }
}

fn with_system_scope() -> RequestContext {
    RequestContext {
        project_id: None,
        project_domain_id: None,
        system_scope: Some("all".into()),
        ..member()
    }
}
