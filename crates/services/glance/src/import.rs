//! An import as it is asked for: what may be imported from where into which stores, and the task that will do it.

use crate::Glance;
use crate::db::images::{Image, drop_locations};
use crate::db::{ImageRow, LocationRow, TaskRow};
use crate::flows::{Claim, ImportImage, Method};
use crate::limits::{Limited, Limits, mebibytes};
use crate::remote::Remote;
use crate::signature::{Signature, Signed};
use crate::upload::{LEASE, location};
use base::{Error, Result, Timestamp};
use glance_types::{ImageStatus, TaskStatus, TaskType};
use oslo_context::RequestContext;
use oslo_db::{Tx, all, eq, is_in, set};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Stores that an import still has to reach, and those that it did not.
pub const IMPORTING: &str = "os_glance_importing_to_stores";
pub const FAILED: &str = "os_glance_failed_import";

#[derive(Clone, Debug, Deserialize)]
struct MethodBody {
    name: String,
    uri: Option<String>,
    glance_region: Option<String>,
    glance_image_id: Option<String>,
    glance_service_interface: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ImportBody {
    method: MethodBody,
    #[serde(default)]
    stores: Vec<String>,
    #[serde(default)]
    all_stores: bool,
    all_stores_must_succeed: Option<bool>,
}

/// A checked request.
#[derive(Clone, Debug)]
pub struct Import {
    pub method: Method,
    pub uri: Option<String>,
    /// Where glance-download fetches from.
    pub remote: Option<Remote>,
    pub claim: Option<Claim>,
    /// What the data of a signed image is held to.
    pub signature: Option<Signature>,
    pub stores: Vec<String>,
    /// Whether the caller named the stores one by one.
    named: bool,
    all_must_succeed: bool,
}

impl Import {
    /// Reads a body; `header` is a store that a header named.
    pub fn parse(glance: &Glance, body: Option<&Value>, header: Option<&str>) -> Result<Import> {
        let body = body.ok_or_else(|| Error::bad_request("Body expected in request."))?;
        let body = ImportBody::deserialize(body)
            .map_err(|e| Error::bad_request(format!("Import request is not valid: {e}")))?;
        let name = &body.method.name;
        let enabled = glance.conf.enabled_import_methods.contains(name);
        let method = Method::parse(name).ok();
        let method = method.filter(|m| enabled && *m != Method::Location);
        let method = method
            .ok_or_else(|| Error::bad_request(format!("Unknown import method name '{name}'.")))?;
        let uri = match (method, body.method.uri.clone()) {
            (Method::WebDownload, None) => {
                return Err(Error::bad_request(
                    "Import request with method web-download requires a 'uri'.",
                ));
            }
            (Method::WebDownload, Some(uri)) => {
                glance.web.check(&uri)?;
                Some(uri)
            }
            (_, Some(_)) => {
                return Err(Error::bad_request(format!(
                    "'uri' is not allowed with method {name}."
                )));
            }
            (_, None) => None,
        };
        let from = body.method;
        let remote = match method {
            Method::GlanceDownload => Some(Remote::parse(
                from.glance_region,
                from.glance_image_id,
                from.glance_service_interface,
            )?),
            _ => None,
        };
        let named = !body.stores.is_empty() || header.is_some();
        if body.all_stores && named {
            return Err(Error::bad_request(
                "All_stores parameter can't be used with x-image-meta-store header or stores parameter",
            ));
        }
        if !body.stores.is_empty() && header.is_some() {
            return Err(Error::bad_request(
                "Stores parameter and x-image-meta-store header can't be both specified",
            ));
        }
        let mut wanted = body.stores;
        wanted.extend(header.map(str::to_string));
        if body.all_stores {
            wanted = glance
                .stores
                .writable()
                .map(|(b, _)| b.id.clone())
                .collect();
        }
        if wanted.is_empty() {
            wanted.push(glance.stores.default().id.clone());
        }
        let mut stores: Vec<String> = Vec::new();
        for store in wanted {
            glance.stores.chosen(&store)?;
            if !stores.contains(&store) {
                stores.push(store);
            }
        }
        Ok(Import {
            method,
            uri,
            remote,
            claim: None,
            signature: None,
            stores,
            named,
            all_must_succeed: body.all_stores_must_succeed.unwrap_or(true),
        })
    }

    /// A look at data that stays on the web, and that a store can read.
    pub fn location(uri: &str, claim: Option<Claim>, store: &str) -> Import {
        Import {
            method: Method::Location,
            uri: Some(uri.to_string()),
            remote: None,
            claim,
            signature: None,
            stores: vec![store.to_string()],
            named: true,
            all_must_succeed: true,
        }
    }

    /// What must be true of the image. Gives the stores that are still to be filled.
    fn check(&self, image: &Image, default_store: &str) -> Result<Vec<String>> {
        let row = &image.row;
        let needed = match self.method {
            Method::GlanceDirect => ImageStatus::Uploading,
            Method::WebDownload | Method::GlanceDownload | Method::Location => ImageStatus::Queued,
            Method::CopyImage => ImageStatus::Active,
        };
        let half = self.method == Method::GlanceDirect && row.staged.is_none();
        if row.status != needed || half {
            return Err(Error::conflict(format!(
                "Image needs to be in '{needed}' state to use '{}' method",
                self.method
            )));
        }
        for (name, value) in [
            ("container_format", &row.container_format),
            ("disk_format", &row.disk_format),
        ] {
            if value.is_none() {
                return Err(Error::conflict(format!(
                    "'{name}' needs to be set before import"
                )));
            }
        }
        if self.method != Method::CopyImage {
            return Ok(self.stores.clone());
        }
        let of = |store: &str| match store {
            "" => default_store.to_string(),
            store => store.to_string(),
        };
        let have: BTreeSet<String> = image.locations.iter().map(|l| of(&l.store)).collect();
        if let Some(store) = self.stores.iter().find(|s| self.named && have.contains(*s)) {
            return Err(Error::bad_request(format!(
                "Image is already present at store '{store}'"
            )));
        }
        let left = self.stores.iter().filter(|s| !have.contains(*s));
        Ok(left.cloned().collect())
    }
}

/// A task that has just been asked for.
pub fn task_row(
    ctx: &RequestContext,
    kind: TaskType,
    image: &str,
    input: &Value,
    now: Timestamp,
) -> TaskRow {
    TaskRow {
        id: base::new_id(),
        r#type: kind,
        status: TaskStatus::Pending,
        owner: ctx.project().to_string(),
        input: input.to_string(),
        result: None,
        message: String::new(),
        image_id: Some(image.to_string()),
        request_id: Some(ctx.request_id.clone()),
        user_id: ctx.user_id.clone(),
        expires_at: None,
        created_at: now,
        updated_at: now,
    }
}

/// Takes the image, which the caller has locked, and leaves the rest to a flow; one that comes back must be fetched for
/// by the caller ([`crate::remote::start`]).
pub fn submit(
    tx: &mut Tx,
    glance: &Glance,
    ctx: &RequestContext,
    image: &mut Image,
    import: &Import,
    task: &TaskRow,
    limits: &Limits,
) -> Result<Option<ImportImage>> {
    let id = image.row.id.clone();
    if import.method != Method::Location {
        limits.check(tx, Limited::SizeTotal, 0)?;
    }
    let at_work = [TaskStatus::Pending, TaskStatus::Processing];
    if tx.exists::<TaskRow>(all([eq("image_id", &id), is_in("status", at_work)]))? {
        return Err(Error::conflict("Image has active task"));
    }
    let stores = import.check(image, &glance.stores.default().id)?;
    match (import.method, &import.signature) {
        (Method::CopyImage, _) => {}
        (Method::Location, _) => Signed::refuse(image)?,
        (_, Some(signature)) if signature.is_of(image) => {}
        (_, None) if Signed::of(image).is_none() => {}
        _ => {
            return Err(Error::conflict(
                "What the image says of its signature was changed by somebody else.",
            ));
        }
    }
    image.properties.insert(IMPORTING.into(), stores.join(","));
    image.properties.insert(FAILED.into(), String::new());
    if stores.is_empty() {
        // Every store has it already: whoever waits for the copies sees that none is left.
        crate::db::images::save_belongings(tx, image)?;
        return Ok(None);
    }
    let file = match (&image.row.staged, import.method) {
        (Some(staged), Method::GlanceDirect) => staged.clone(),
        _ => format!("{id}.{}", base::new_hex_id()),
    };
    if import.method != Method::CopyImage {
        // Whatever the image was said to be before.
        drop_locations(tx, eq("image", &id))?;
        let mut values = vec![
            set("status", ImageStatus::Importing),
            set("updated_at", task.created_at),
        ];
        if import.remote.is_some() {
            values.extend([
                set("upload", &file),
                set("upload_owner", &glance.process),
                set("upload_lease", task.created_at.plus(LEASE)),
            ]);
        }
        tx.update::<ImageRow>(eq("id", &id), &values)?;
    }
    crate::db::images::save_belongings(tx, image)?;
    match import.method {
        Method::GlanceDirect => {
            let size = image.row.size.and_then(|size| u64::try_from(size).ok());
            limits.check(tx, Limited::SizeTotal, mebibytes(size))?;
        }
        Method::WebDownload | Method::GlanceDownload | Method::CopyImage => {
            limits.check(tx, Limited::StageTotal, 0)?;
            limits.check(tx, Limited::CountUploading, 0)?;
        }
        Method::Location => {}
    }
    tx.insert(task)?;
    if let (Method::Location, Some(uri), Some(store)) = (import.method, &import.uri, stores.first())
    {
        let location = LocationRow {
            file: None,
            url: Some(uri.clone()),
            ..location(&id, store, "", task.created_at)
        };
        tx.insert(&location)?;
    }
    let ignored = &glance.conf.inject_metadata_ignore_user_roles;
    let flow = ImportImage {
        method: import.method,
        uri: import.uri.clone(),
        stores,
        all_must_succeed: import.all_must_succeed,
        claim: import.claim.clone(),
        inject: !ctx.roles.iter().any(|role| ignored.contains(role)),
        owner: image.row.owner.clone().unwrap_or_default(),
        signature: import.signature.clone(),
        ..ImportImage::of_task(task, &id, &file)
    };
    match import.remote {
        Some(_) => Ok(Some(flow)),
        None => glance.engine.submit(tx, &flow).map(|_| None),
    }
}
