//! `/v3/users/{user_id}/credentials/OS-EC2`: pairs of access key and secret, kept as credentials of type `ec2`.

use crate::Keystone;
use crate::api::credentials::{EC2, ec2_id, open, origin, seal, unless_beyond};
use crate::api::delegation::{own_token, unless_elsewhere, unless_restricted};
use crate::api::fields::expecting;
use crate::api::list::collection;
use crate::api::{base_url, one, self_link};
use crate::db::credentials::{self, CredentialRow};
use crate::db::{Extra, missing, projects, users};
use crate::policy::{Target, enforce};
use base::{Dir, Error, Result, new_hex_id};
use oslo_db::{all, eq};
use oslo_http::{Reply, Req};
use serde_json::{Value, json};
use std::sync::Arc;

const WHAT: &str = "EC2 credential";

/// What the row seals.
pub(crate) fn blob(keystone: &Keystone, row: &CredentialRow) -> Result<Extra> {
    let blob = open(keystone, row)?;
    serde_json::from_str(&blob)
        .map_err(|_| Error::internal(format!("credential {} holds no object", row.id)))
}

fn view(base: &str, row: &CredentialRow, blob: &Extra) -> Value {
    let of = |name: &str| blob.get(name).cloned().unwrap_or(Value::Null);
    let access = of("access");
    let path = format!(
        "users/{}/credentials/OS-EC2/{}",
        row.user_id,
        access.as_str().unwrap_or_default()
    );
    json!({
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": access,
        "secret": of("secret"),
        "trust_id": of("trust_id"),
        "links": self_link(base, &path),
    })
}

fn target(user_id: &str) -> Target {
    Target::new().set("credential", json!({"user_id": user_id}))
}

/// `GET …/credentials/OS-EC2`
pub(crate) async fn list(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = req.param("user_id").to_string();
    let rule = "identity:ec2_list_credentials";
    enforce(&req, rule, Target::new().path("user_id", &user_id))?;
    let token = own_token(&keystone, &req).await?;
    let rows = keystone
        .db
        .read(move |tx| {
            users::get(tx, &user_id)?;
            let theirs = all([eq("user_id", &user_id), eq("type", EC2)]);
            tx.select_sorted::<CredentialRow>(theirs, &[("id", Dir::Asc)], None)
        })
        .await?;
    let base = base_url(&keystone, &req);
    let views = rows
        .iter()
        .filter(|row| unless_beyond(&keystone, &token, WHAT, row).is_ok())
        .map(|row| Ok(view(&base, row, &blob(&keystone, row)?)))
        .collect::<Result<_>>()?;
    collection(&base, &req, "credentials", views, None)
}

/// `POST …/credentials/OS-EC2`
pub(crate) async fn create(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let user_id = req.param("user_id").to_string();
    enforce(&req, "identity:ec2_create_credential", target(&user_id))?;
    let token = own_token(&keystone, &req).await?;
    unless_restricted(&token, "application credentials")?;
    let project_id = req
        .json
        .as_ref()
        .and_then(|body| body["tenant_id"].as_str())
        .ok_or_else(|| expecting("tenant_id", "request body"))?
        .to_string();
    unless_elsewhere(&token, WHAT, Some(&project_id))?;
    let access = new_hex_id();
    let mut blob = Extra::new();
    blob.insert("access".into(), access.as_str().into());
    blob.insert("secret".into(), new_hex_id().into());
    blob.insert("trust_id".into(), Value::Null);
    blob.extend(origin(&token).map(|(key, id)| (key.to_string(), id.into())));
    let sealed = seal(&keystone, &Value::Object(blob.clone()).to_string())?;
    let row = CredentialRow {
        id: ec2_id(&access),
        user_id,
        project_id: Some(project_id.clone()),
        r#type: EC2.into(),
        encrypted_blob: sealed,
        created_at: keystone.clock.now(),
    };
    let new = row.clone();
    keystone
        .write(move |tx| {
            users::get(tx, &new.user_id)?;
            projects::get(tx, &project_id)?;
            tx.insert(&new)
        })
        .await?;
    let view = view(&base_url(&keystone, &req), &row, &blob);
    one(201, "credential", view)
}

/// The credential with the access key in the path, if the caller may do `rule` to it.
async fn permitted(keystone: &Arc<Keystone>, req: &Req, rule: &str) -> Result<CredentialRow> {
    let access = req.param("credential_id");
    let (user_id, id) = (req.param("user_id").to_string(), ec2_id(access));
    let (found, user) = keystone
        .db
        .read(move |tx| {
            let row = credentials::find(tx, &id)?;
            Ok((
                row.filter(|row| row.r#type == EC2),
                users::find(tx, &user_id)?,
            ))
        })
        .await?;
    // COMPAT: the credential is looked for before the rule is asked. The rule is about whose it is; the user in the path
    // need only exist, so who may do it to everybody's finds a pair below any user.
    let row = found.ok_or_else(|| missing("credential", access))?;
    enforce(req, rule, target(&row.user_id))?;
    user.ok_or_else(|| missing("user", req.param("user_id")))?;
    let token = own_token(keystone, req).await?;
    unless_beyond(keystone, &token, WHAT, &row)?;
    Ok(row)
}

/// `GET …/credentials/OS-EC2/{credential_id}`
pub(crate) async fn show(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = permitted(&keystone, &req, "identity:ec2_get_credential").await?;
    let blob = blob(&keystone, &row)?;
    let view = view(&base_url(&keystone, &req), &row, &blob);
    one(200, "credential", view)
}

/// `DELETE …/credentials/OS-EC2/{credential_id}`
pub(crate) async fn delete(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let row = permitted(&keystone, &req, "identity:ec2_delete_credential").await?;
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
