//! Keypairs: a user's public keys, given to servers at boot. They belong to users, not projects.

use super::sshkeys;
use super::values::{text, wrapped};
use super::views::links;
use crate::Nova;
use crate::db::keypairs::KeypairRow;
use base::{Dir, Error, Kind, Page, Paging, Result, new_id};
use oslo_db::{Tx, all, eq, is_duplicate};
use oslo_http::{PagingRules, Reply, Req, parse_paging};
use serde_json::{Value, json};
use std::sync::Arc;

const CREATE: &str = "os_compute_api:os-keypairs:create";
const SHOW: &str = "os_compute_api:os-keypairs:show";
const INDEX: &str = "os_compute_api:os-keypairs:index";
const DELETE: &str = "os_compute_api:os-keypairs:delete";

/// 404 in upstream's words.
pub fn not_found(user: &str, name: &str) -> Error {
    Error::not_found(format!("Keypair {name} not found for user {user}")).class("KeypairNotFound")
}

/// A user's key.
pub fn get(tx: &mut Tx, user: &str, name: &str) -> Result<KeypairRow> {
    tx.find(all([eq("user_id", user), eq("name", name)]))?
        .ok_or_else(|| not_found(user, name))
}

/// The user a request is about: the caller, or from 2.10 on whom it names. The rule is checked against that user.
fn user_of(req: &Req, rule: &str, named: Option<&str>) -> Result<String> {
    let user = named
        .filter(|_| req.at_least(2, 10))
        .unwrap_or_else(|| req.ctx.user())
        .to_string();
    req.enforce(
        rule,
        &json!({"user_id": user, "project_id": req.ctx.project_id}),
    )?;
    Ok(user)
}

fn view(req: &Req, row: &KeypairRow) -> Value {
    let mut view =
        json!({"name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint});
    if req.at_least(2, 2) {
        view["type"] = json!(row.r#type);
    }
    view
}

/// `GET /os-keypairs`.
pub async fn list(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let user = user_of(&req, INDEX, req.query.get("user_id"))?;
    let paging = if req.at_least(2, 35) {
        let rules = PagingRules {
            default_sort: &[("name", Dir::Asc)],
            tie: "name",
            max_limit: nova.conf.max_limit,
            default_limit: Some(nova.conf.max_limit),
            ..PagingRules::new(&[])
        };
        parse_paging(&req.query, &rules)?
    } else {
        Paging {
            sort: vec![("name", Dir::Asc)],
            ..Paging::default()
        }
    };
    let page: Page<KeypairRow> = nova
        .db
        .read(move |tx| {
            // Names are unique per user only, so the marker becomes the row's own id here.
            let mut paging = paging.clone();
            if let Some(name) = &paging.marker {
                let marker = get(tx, &user, name)
                    .map_err(|_| Error::bad_request(format!("marker [{name}] not found")))?;
                paging.marker = Some(marker.id);
            }
            paging.sort = vec![("name", Dir::Asc), ("id", Dir::Asc)];
            tx.page(eq("user_id", &user), &paging)
        })
        .await?;
    let rows: Vec<Value> = page
        .items
        .iter()
        .map(|k| json!({"keypair": view(&req, k)}))
        .collect();
    let mut body = json!({"keypairs": rows});
    links::next(&mut body, "keypairs_links", &req, &page, |k| k.name.clone());
    Reply::ok(&body)
}

/// `GET /os-keypairs/{id}`.
pub async fn show(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let user = user_of(&req, SHOW, req.query.get("user_id"))?;
    let name = req.param("id").to_string();
    let row = nova.db.read(move |tx| get(tx, &user, &name)).await?;
    let mut view = view(&req, &row);
    view["user_id"] = json!(row.user_id);
    view["id"] = json!(row.number);
    view["created_at"] = json!(row.created_at.iso_micros());
    view["updated_at"] = Value::Null;
    view["deleted"] = json!(false);
    view["deleted_at"] = Value::Null;
    Reply::ok(&json!({"keypair": view}))
}

/// `POST /os-keypairs`: imports, or (until 2.91) makes a key and shows its private half this once.
pub async fn create(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let body = wrapped(req.json.as_ref(), "keypair")?;
    let user = user_of(&req, CREATE, text(body, "user_id"))?;
    let name = text(body, "name").unwrap_or("").trim().to_string();
    let kind = text(body, "type")
        .filter(|_| req.at_least(2, 2))
        .unwrap_or("ssh")
        .to_string();
    check_name(&name)?;
    let mut private_key = None;
    let (public_key, fingerprint) = match (text(body, "public_key"), kind.as_str()) {
        (Some(key), "x509") => (key.to_string(), sshkeys::x509_fingerprint(key)?),
        (Some(key), _) => (key.to_string(), sshkeys::ssh_fingerprint(key)?),
        (None, "x509") => {
            let words = "Keypair data is invalid: x509 certificates are not generated here; import one with public_key.";
            return Err(Error::bad_request(words));
        }
        (None, _) => {
            let made = tokio::task::spawn_blocking(sshkeys::generate)
                .await
                .map_err(Error::internal)??;
            private_key = Some(made.private_key);
            (made.public_key, made.fingerprint)
        }
    };
    let mut row = KeypairRow {
        id: new_id(),
        number: 0,
        user_id: user,
        name,
        fingerprint,
        public_key,
        r#type: kind,
        created_at: nova.clock.now(),
    };
    let (limits, project) = (nova.limits.clone(), req.ctx.project().to_string());
    row = nova
        .db
        .write(move |tx| {
            let mut row = row.clone();
            limits.lock(tx, &row.user_id)?;
            let limit = limits
                .get(tx, &project)?
                .get("key_pairs")
                .copied()
                .unwrap_or(-1);
            let used = tx.count::<KeypairRow>(eq("user_id", &row.user_id))? as i64;
            if limit >= 0 && used >= limit {
                return Err(
                    Error::new(Kind::OverQuota, "Quota exceeded, too many key pairs.")
                        .class("KeypairLimitExceeded"),
                );
            }
            let last = tx.select_sorted::<KeypairRow>(
                oslo_db::everything(),
                &[("number", Dir::Desc)],
                Some(1),
            )?;
            row.number = last.first().map_or(1, |k| k.number + 1);
            let words = format!("Key pair '{}' already exists.", row.name);
            tx.insert(&row).map_err(|e| match is_duplicate(&e) {
                true => Error::conflict(words).class("KeyPairExists"),
                false => e,
            })?;
            Ok(row)
        })
        .await?;
    let mut view = view(&req, &row);
    view["user_id"] = json!(row.user_id);
    if let Some(key) = private_key {
        view["private_key"] = json!(key.expose());
    }
    Reply::json(
        if req.at_least(2, 2) { 201 } else { 200 },
        &json!({"keypair": view}),
    )
}

/// Names may hold letters, digits, blanks, `-_` and, from 2.92 on, `@.`; the schema of 2.92 checks the rest.
fn check_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '@' | '.');
    if name.is_empty() || name.len() > 255 {
        return Err(Error::bad_request(
            "Keypair data is invalid: Keypair name must be string and between 1 and 255 characters long",
        ));
    }
    if !name.chars().all(fine) {
        return Err(Error::bad_request(
            "Keypair data is invalid: Keypair name contains unsafe characters",
        ));
    }
    Ok(())
}

/// `DELETE /os-keypairs/{id}`; servers keep their copy of the key.
pub async fn delete(nova: Arc<Nova>, req: Req) -> Result<Reply> {
    let user = user_of(&req, DELETE, req.query.get("user_id"))?;
    let name = req.param("id").to_string();
    nova.db
        .write(move |tx| {
            let gone = tx.delete::<KeypairRow>(all([eq("user_id", &user), eq("name", &name)]))?;
            if gone == 0 {
                Err(not_found(&user, &name))
            } else {
                Ok(())
            }
        })
        .await?;
    Ok(Reply::empty(if req.at_least(2, 2) { 204 } else { 202 }))
}
