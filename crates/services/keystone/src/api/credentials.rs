//! `/v3/credentials`: blobs are sealed before they reach the database and opened only for who may see them.

use crate::Keystone;
use crate::api::delegation::{own_token, unless_elsewhere, unless_restricted};
use crate::api::fields::Fields;
use crate::api::list::{By, Filter, collection, filters};
use crate::api::{base_url, one, self_link};
use crate::db::credentials::{self, CredentialRow};
use crate::db::{Extra, duplicate_id, missing};
use crate::policy::{Target, enforce, wording};
use crate::token::cache::Validated;
use crate::token::fernet;
use crate::token::payload::Scope;
use base::{Dir, Error, Result, new_hex_id};
use oslo_db::{all, eq, set};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const FILTERS: &[Filter] = &[("user_id", By::Text("user_id")), ("type", By::Text("type"))];
pub(crate) const EC2: &str = "ec2";
/// Secrets of passcodes: who has one is the whole user.
const TOTP: &str = "totp";
/// What an EC2 blob says about where it came from: whoever could change it could borrow another's powers.
const ORIGINS: &[&str] = &["trust_id", "app_cred_id", "access_token_id", "access_id"];

pub(crate) fn seal(keystone: &Keystone, blob: &str) -> Result<String> {
    let seconds = u64::try_from(keystone.clock.now().seconds()).map_err(Error::internal)?;
    let keys = keystone.credential_keys.all();
    let primary = keys
        .first()
        .ok_or_else(|| Error::internal("no credential keys"))?;
    Ok(primary.seal_padded(blob.as_bytes(), seconds))
}

/// What was sealed.
pub(crate) fn unseal(keystone: &Keystone, sealed: &str) -> Result<String> {
    fernet::open(&keystone.credential_keys.all(), sealed)
        .and_then(|(bytes, _)| String::from_utf8(bytes).ok())
        .ok_or_else(|| Error::internal("no key opens a credential"))
}

pub(crate) fn open(keystone: &Keystone, c: &CredentialRow) -> Result<String> {
    unseal(keystone, &c.encrypted_blob)
        .map_err(|_| Error::internal(format!("no key opens credential {}", c.id)))
}

fn view(base: &str, c: &CredentialRow, blob: &str) -> Value {
    json!({
        "id": c.id,
        "type": c.r#type,
        "blob": blob,
        "user_id": c.user_id,
        "project_id": c.project_id,
        "links": self_link(base, &format!("credentials/{}", c.id)),
    })
}

fn target(user_id: &str, project_id: Option<&str>) -> Target {
    Target::new().set(
        "credential",
        json!({"user_id": user_id, "project_id": project_id}),
    )
}

fn target_of(c: &CredentialRow) -> Target {
    target(&c.user_id, c.project_id.as_deref())
}

/// 403 for a delegated token and a credential of another project, or one that is worth more than the token: an EC2 pair
/// that this delegation did not make, or the secret of passcodes.
pub(crate) fn unless_beyond(
    keystone: &Keystone,
    token: &Validated,
    what: &str,
    c: &CredentialRow,
) -> Result<()> {
    if !token.claims.scope.is_delegated() {
        return Ok(());
    }
    unless_elsewhere(token, what, c.project_id.as_deref())?;
    unless_passcodes(token, what, &c.r#type)?;
    if c.r#type.eq_ignore_ascii_case(EC2) {
        let blob = ec2_blob(&open(keystone, c)?)?;
        let made_by =
            |(key, id): (&str, String)| blob.get(key).and_then(Value::as_str) == Some(&id);
        if !origin(token).is_some_and(made_by) {
            return Err(Error::forbidden(wording(&format!(
                "{what} was not made with the delegated token"
            ))));
        }
    }
    Ok(())
}

/// 403 for delegated tokens of any kind and the secret of passcodes: with it the user would be theirs.
fn unless_passcodes(token: &Validated, what: &str, kind: &str) -> Result<()> {
    match token.claims.scope.is_delegated() && kind.eq_ignore_ascii_case(TOTP) {
        true => Err(Error::forbidden(wording(&format!(
            "{what} of type totp is not for delegated tokens"
        )))),
        false => Ok(()),
    }
}

/// The credential in the path, if the caller may do `rule` to it; that there is none is only told to those who may.
async fn permitted(keystone: &Arc<Keystone>, req: &Req, rule: &str) -> Result<CredentialRow> {
    let id = req.param("credential_id").to_string();
    let found = keystone
        .db
        .read(move |tx| credentials::find(tx, &id))
        .await?;
    enforce(req, rule, found.as_ref().map(target_of).unwrap_or_default())?;
    let row = found.ok_or_else(|| missing("credential", req.param("credential_id")))?;
    let token = own_token(keystone, req).await?;
    unless_beyond(keystone, &token, "Credential", &row)?;
    Ok(row)
}

fn ec2_blob(blob: &str) -> Result<Extra> {
    serde_json::from_str(blob).map_err(|_| Error::bad_request("Invalid blob in credential"))
}

/// Upstream finds EC2 credentials by their access key, so their id is made of it.
pub(crate) fn ec2_id(access: &str) -> String {
    format!("{:x}", Sha256::digest(access.as_bytes()))
}

/// By what a credential was made that a delegated token makes: using it gives no more power than that.
pub(crate) fn origin(token: &Validated) -> Option<(&'static str, String)> {
    match &token.claims.scope {
        Scope::Trust { id, .. } => Some(("trust_id", id.clone())),
        Scope::AppCred { id, .. } => Some(("app_cred_id", id.clone())),
        Scope::Oauth {
            access_token_id, ..
        } => Some(("access_token_id", access_token_id.clone())),
        _ => None,
    }
}

/// The id and the blob of a new EC2 credential. Where it comes from says the caller's token, never the caller.
fn new_ec2(blob: &str, token: &Validated) -> Result<(String, String)> {
    let mut fields = ec2_blob(blob)?;
    let access = fields
        .get("access")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::bad_request("Invalid blob in credential"))?;
    let id = ec2_id(access);
    if let Some(key) = ORIGINS.iter().find(|key| fields.contains_key(**key)) {
        return Err(Error::bad_request(format!(
            "{key} can not be set for credential"
        )));
    }
    match origin(token) {
        None => Ok((id, blob.to_string())),
        Some((key, origin)) => {
            fields.insert(key.into(), origin.into());
            Ok((id, Value::Object(fields).to_string()))
        }
    }
}

fn check_origins(old: &str, new: &str) -> Result<()> {
    let (old, new) = (ec2_blob(old)?, ec2_blob(new)?);
    match ORIGINS.iter().find(|key| old.get(**key) != new.get(**key)) {
        None => Ok(()),
        Some(key) => Err(Error::bad_request(format!(
            "{key} can not be updated for credential"
        ))),
    }
}

/// `GET /v3/credentials`: each row is checked again, so nobody is shown one they could not ask for by its id.
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let own = req.ctx.user_id.as_deref().unwrap_or_default();
    enforce(&req, "identity:list_credentials", target(own, None))?;
    let mut cond = filters(&req.query, FILTERS);
    // Who is shown nobody else's need not wait until everybody's were looked at.
    let strangers = [None, req.ctx.project_id.as_deref()];
    let rule = "identity:get_credential";
    let shown = |project| enforce(&req, rule, target("", project)).is_ok();
    if !strangers.into_iter().any(shown) {
        cond = all([cond, eq("user_id", own)]);
    }
    let rows = keystone
        .db
        .read(move |tx| tx.select_sorted::<CredentialRow>(cond.clone(), &[("id", Dir::Asc)], None))
        .await?;
    let base = base_url(&keystone, &req);
    let token = own_token(&keystone, &req).await?;
    let views = rows
        .iter()
        .filter(|c| enforce(&req, rule, target_of(c)).is_ok())
        .filter(|c| unless_beyond(&keystone, &token, "Credential", c).is_ok())
        .map(|c| Ok(view(&base, c, &open(&keystone, c)?)))
        .collect::<Result<Vec<_>>>()?;
    collection(&base, &req, "credentials", views, None)
}

/// `GET /v3/credentials/{credential_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = permitted(&keystone, &req, "identity:get_credential").await?;
    let blob = open(&keystone, &row)?;
    one(
        200,
        "credential",
        view(&base_url(&keystone, &req), &row, &blob),
    )
}

/// `POST /v3/credentials`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut fields = Fields::of(&req, "credential")?;
    let user_id = fields.required("user_id", "credential")?;
    let project_id = fields.text("project_id")?;
    enforce(
        &req,
        "identity:create_credential",
        target(&user_id, project_id.as_deref()),
    )?;
    let kind = fields.required("type", "credential")?;
    let blob = fields.required("blob", "credential")?;
    let is_ec2 = kind.eq_ignore_ascii_case(EC2);
    let token = own_token(&keystone, &req).await?;
    if is_ec2 {
        unless_restricted(&token, "credentials")?;
    }
    unless_elsewhere(&token, "Credential", project_id.as_deref())?;
    unless_passcodes(&token, "Credential", &kind)?;
    let (id, blob) = match is_ec2 {
        true => new_ec2(&blob, &token)?,
        false => (new_hex_id(), blob),
    };
    if is_ec2 && project_id.is_none() {
        return Err(crate::api::fields::expecting("project_id", "credential"));
    }
    let row = CredentialRow {
        id,
        user_id,
        project_id,
        r#type: kind,
        encrypted_blob: seal(&keystone, &blob)?,
        created_at: keystone.clock.now(),
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            tx.insert(&new)
                .map_err(|e| duplicate_id("credential", &new.id, e))
        })
        .await?;
    one(
        201,
        "credential",
        view(&base_url(&keystone, &req), &row, &blob),
    )
}

/// `PATCH /v3/credentials/{credential_id}`: only the blob changes; whose it is and for what stays.
pub(crate) async fn update(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let mut row = permitted(&keystone, &req, "identity:update_credential").await?;
    let mut fields = Fields::of(&req, "credential")?;
    for (name, old) in [
        ("id", Some(&row.id)),
        ("type", Some(&row.r#type)),
        ("user_id", Some(&row.user_id)),
        ("project_id", row.project_id.as_ref()),
    ] {
        if fields
            .nullable(name)?
            .is_some_and(|new| new.as_ref() != old)
        {
            return Err(Error::bad_request(format!(
                "Cannot change credential {name}"
            )));
        }
    }
    let old = open(&keystone, &row)?;
    let blob = fields.text("blob")?.unwrap_or_else(|| old.clone());
    if row.r#type.eq_ignore_ascii_case(EC2) {
        check_origins(&old, &blob)?;
    }
    row.encrypted_blob = seal(&keystone, &blob)?;
    let new = row.clone();
    keystone
        .write(move |tx| {
            let values = [set("encrypted_blob", &new.encrypted_blob)];
            match tx.update::<CredentialRow>(eq("id", &new.id), &values)? {
                0 => Err(missing("credential", &new.id)),
                _ => Ok(()),
            }
        })
        .await?;
    one(
        200,
        "credential",
        view(&base_url(&keystone, &req), &row, &blob),
    )
}

/// `DELETE /v3/credentials/{credential_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = permitted(&keystone, &req, "identity:delete_credential").await?;
    keystone
        .write(
            move |tx| match tx.delete::<CredentialRow>(eq("id", &row.id))? {
                0 => Err(missing("credential", &row.id)),
                _ => Ok(()),
            },
        )
        .await?;
    Ok(Reply::empty(204))
}
