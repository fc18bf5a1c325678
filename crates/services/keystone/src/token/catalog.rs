//! The catalog of a scope: templates of addresses with the scope's ids filled in.

use crate::db::endpoint_filters;
use crate::db::endpoints::EndpointRow;
use crate::db::services::ServiceRow;
use base::Result;
use keystone_types::{CatalogEndpoint, CatalogService};
use oslo_db::{Tx, eq};

/// What may stand in an address as `$(name)s` or `%(name)s`.
pub(crate) struct Substitutions<'a> {
    pub project_id: Option<&'a str>,
    pub user_id: &'a str,
}

impl Substitutions<'_> {
    /// The address, or none if it needs an id that this scope lacks or is malformed.
    pub(crate) fn fill(&self, template: &str) -> Option<String> {
        let mut out = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some(at) = rest.find(['$', '%']) {
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            let Some(inner) = tail.strip_prefix('(') else {
                // A lone `$` stands for itself; a lone `%` is an escape in the address.
                out.push_str(&rest[at..=at]);
                rest = tail;
                continue;
            };
            let (name, after) = inner.split_once(")s")?;
            out.push_str(match name {
                "project_id" | "tenant_id" => self.project_id?,
                "user_id" => self.user_id,
                _ => return None,
            });
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
}

/// Enabled services with their enabled endpoints, as a token shows them.
///
/// A project for which somebody named endpoints has these, and services without any of them are left out; the others
/// have all, or none if `all_unless_named` is not set.
pub(crate) fn build(
    tx: &mut Tx,
    with: &Substitutions<'_>,
    all_unless_named: bool,
) -> Result<Vec<CatalogService>> {
    let theirs = match with.project_id {
        Some(id) => endpoint_filters::of_project(tx, id)?,
        None => None,
    };
    if theirs.is_none() && !all_unless_named {
        return Ok(vec![]);
    }
    let mut services: Vec<ServiceRow> = tx.select(eq("enabled", true))?;
    services.sort_by(|a, b| (&a.r#type, &a.id).cmp(&(&b.r#type, &b.id)));
    let mut endpoints: Vec<EndpointRow> = tx.select(eq("enabled", true))?;
    if let Some(theirs) = &theirs {
        endpoints.retain(theirs);
        services.retain(|s| endpoints.iter().any(|e| e.service_id == s.id));
    }
    endpoints.sort_by(|a, b| (&a.interface, &a.id).cmp(&(&b.interface, &b.id)));
    let mut catalog = Vec::with_capacity(services.len());
    for service in services {
        let own = endpoints.iter().filter(|e| e.service_id == service.id);
        let shown = own.filter_map(|e| {
            Some(CatalogEndpoint {
                id: e.id.clone(),
                interface: e.interface.clone(),
                region_id: e.region_id.clone(),
                url: with.fill(&e.url)?,
                region: e.region_id.clone(),
            })
        });
        catalog.push(CatalogService {
            endpoints: shown.collect(),
            id: service.id,
            service_type: service.r#type,
            name: service.name.unwrap_or_default(),
        });
    }
    Ok(catalog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let with = Substitutions {
            project_id: Some("p"),
            user_id: "u",
        };
        assert_eq!(
            with.fill("http://c/v1/AUTH_%(tenant_id)s/$(user_id)s")
                .as_deref(),
            Some("http://c/v1/AUTH_p/u")
        );
        assert_eq!(
            with.fill("http://c/100%25$x").as_deref(),
            Some("http://c/100%25$x")
        );
        assert_eq!(
            with.fill("http://c/$(project_id)s").as_deref(),
            Some("http://c/p")
        );
        for bad in [
            "http://c/$(admin_token)s",
            "http://c/$(project_id",
            "http://c/$(project_id)",
        ] {
            assert_eq!(with.fill(bad), None, "{bad}");
        }
        let nowhere = Substitutions {
            project_id: None,
            user_id: "u",
        };
        assert_eq!(nowhere.fill("http://c/$(project_id)s"), None);
    }
}
