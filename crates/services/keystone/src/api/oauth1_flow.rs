//! OAuth 1.0a's dance: a consumer asks for a project, a user agrees to some of their roles there, the consumer acts.

use crate::Keystone;
use crate::api::credentials::{seal, unseal};
use crate::api::delegation::{own_token, unless_delegated};
use crate::api::fields::{Fields, expecting};
use crate::assignment::effective;
use crate::db::oauth1::{self, AccessTokenRow, RequestTokenRow};
use crate::db::{projects, roles};
use crate::identity::oauth1::{SignedRequest, WINDOW, form};
use crate::identity::same_secret;
use crate::policy::{Target, enforce};
use base::{Error, Json, Result, Timestamp, new_hex_id};
use oslo_db::{all, eq, is_null, lt, set};
use oslo_http::{Reply, Req};
use rand::Rng;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

const VERIFIER: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The request as its consumer signed it.
pub(crate) fn signed(keystone: &Keystone, req: &Req) -> Result<SignedRequest> {
    let mut urls = vec![format!("{}{}", req.base_url, req.path)];
    if let Some(public) = &keystone.conf.keystone.public_endpoint {
        let public = public.trim_end_matches('/').trim_end_matches("/v3");
        urls.push(format!("{public}{}", req.path));
    }
    let mut params = req.query.0.clone();
    params.extend(form(req.header("content-type"), &req.body)?);
    SignedRequest::parse(
        req.header("authorization"),
        req.method.as_str(),
        urls,
        params,
    )
}

/// 401 for a request that was seen before: whoever heard it may not say it again.
pub(crate) async fn use_once(keystone: &Keystone, signed: &SignedRequest) -> Result<()> {
    let (id, now) = (signed.nonce_id(), keystone.clock.now());
    let forgotten = now.minus(WINDOW * 3);
    let first = keystone
        .db
        .write(move |tx| oauth1::use_nonce(tx, &id, now, forgotten))
        .await?;
    match first {
        true => Ok(()),
        false => Err(Error::unauthorized("The nonce was used before")),
    }
}

/// When something ends that is made now.
fn end(now: Timestamp, seconds: u64) -> Option<Timestamp> {
    (seconds > 0).then(|| now.plus(Duration::from_secs(seconds)))
}

/// `oauth_token=…&oauth_token_secret=…`
fn form_reply(id: &str, secret: &str, end: Option<Timestamp>) -> Reply {
    let mut text = format!("oauth_token={id}&oauth_token_secret={secret}");
    if let Some(end) = end {
        text.push_str(&format!("&oauth_expires_at={}", end.iso_micros_z()));
    }
    Reply::text(201, "application/x-www-form-urlencoded", text)
}

/// `POST /v3/OS-OAUTH1/request_token`: the consumer's signature is the proof, there is no token.
pub(crate) async fn request_token(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let signed = signed(&keystone, &req)?;
    let consumer_id = signed.required("oauth_consumer_key")?.to_string();
    let project_id = req
        .header("requested-project-id")
        .filter(|id| !id.is_empty());
    let project_id = project_id
        .ok_or_else(|| expecting("Requested-Project-Id", "request"))?
        .to_string();
    let (wanted, id) = (project_id.clone(), consumer_id.clone());
    let consumer = keystone
        .db
        .read(move |tx| {
            projects::get(tx, &wanted)?;
            oauth1::get_consumer(tx, &id)
        })
        .await?;
    let now = keystone.clock.now();
    signed.check(now)?;
    if !signed.is_signed_by(&unseal(&keystone, &consumer.encrypted_secret)?, "") {
        tracing::info!(consumer.id = consumer_id, "a signature was wrong");
        return Err(Error::unauthorized("Invalid signature"));
    }
    use_once(&keystone, &signed).await?;
    let secret = new_hex_id();
    let row = RequestTokenRow {
        id: new_hex_id(),
        consumer_id,
        project_id,
        encrypted_secret: seal(&keystone, &secret)?,
        verifier: None,
        user_id: None,
        role_ids: Json(vec![]),
        expires_at: end(now, keystone.conf.oauth1.request_token_duration),
    };
    let reply = form_reply(&row.id, &secret, row.expires_at);
    // No token means anything else for it, so nobody is made to forget anything.
    keystone
        .db
        .write(move |tx| {
            tx.delete::<RequestTokenRow>(lt("expires_at", now))?;
            tx.insert(&row)
        })
        .await?;
    Ok(reply)
}

fn new_verifier() -> String {
    let mut rng = rand::rng();
    let mut pick = || char::from(VERIFIER[rng.random_range(0..VERIFIER.len())]);
    (0..8).map(|_| pick()).collect()
}

fn unless_ended(row: &RequestTokenRow, now: Timestamp) -> Result<()> {
    match row.expires_at.is_some_and(|end| end <= now) {
        true => Err(Error::unauthorized("Request token is expired")),
        false => Ok(()),
    }
}

/// `PUT /v3/OS-OAUTH1/authorize/{request_token_id}`: a user agrees, to roles that they hold.
pub(crate) async fn authorize(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    enforce(&req, "identity:authorize_request_token", Target::new())?;
    let sent = req.json.as_ref().and_then(|body| body.get("roles"));
    let mut body = Map::new();
    body.insert("roles".into(), sent.cloned().unwrap_or(json!([])));
    for role in body["roles"].as_array().into_iter().flatten() {
        let fields = role.as_object();
        let known = |map: &Map<String, Value>| map.keys().all(|k| k == "id" || k == "name");
        if !fields.is_some_and(|map| map.len() == 1 && known(map)) {
            return Err(Error::bad_request(
                "Invalid input for field 'roles': each is {\"id\": …} or {\"name\": …}",
            ));
        }
    }
    let wanted = Fields::new(body).roles("roles")?;
    let token = own_token(&keystone, &req).await?;
    unless_delegated(
        &token,
        "Cannot authorize a request token with a token issued via delegation.",
    )?;
    let (id, user_id) = (
        req.param("request_token_id").to_string(),
        token.claims.user_id.clone(),
    );
    let more_groups = token.more_groups();
    let (now, verifier) = (keystone.clock.now(), new_verifier());
    let told = verifier.clone();
    keystone
        .db
        .write(move |tx| {
            let row = oauth1::get_request_token(tx, &id)?;
            unless_ended(&row, now)?;
            let role_ids = roles::ids_of(tx, &wanted)?;
            let project = projects::get(tx, &row.project_id)?;
            let who = effective::Who::within(&user_id, &more_groups);
            let held = effective::ids_on_project(tx, who, &project)?;
            if !role_ids.iter().all(|id| held.contains(id)) {
                return Err(Error::unauthorized(
                    "authorizing user does not have role required",
                ));
            }
            let values = [
                set("user_id", &user_id),
                set("verifier", &told),
                set("role_ids", Json(role_ids)),
            ];
            // Whoever agreed first did; the same user may think again.
            let open = oslo_db::any([is_null("user_id"), eq("user_id", &user_id)]);
            match tx.update::<RequestTokenRow>(all([eq("id", &id), open]), &values)? {
                1 => Ok(()),
                _ => Err(Error::conflict(
                    "The request token was authorized by somebody else",
                )),
            }
        })
        .await?;
    Reply::ok(&json!({"token": {"oauth_verifier": verifier}}))
}

/// `POST /v3/OS-OAUTH1/access_token`: the consumer shows what the user told it.
pub(crate) async fn access_token(keystone: Arc<Keystone>, req: Req) -> Result<Reply> {
    let signed = signed(&keystone, &req)?;
    let consumer_id = signed.required("oauth_consumer_key")?.to_string();
    let id = signed.required("oauth_token")?.to_string();
    let verifier = signed.required("oauth_verifier")?;
    let wanted = (id.clone(), consumer_id.clone());
    let (request, consumer) = keystone
        .db
        .read(move |tx| {
            let request = oauth1::get_request_token(tx, &wanted.0)?;
            Ok((request, oauth1::find_consumer(tx, &wanted.1)?))
        })
        .await?;
    let now = keystone.clock.now();
    unless_ended(&request, now)?;
    let no = |why: &str| Err(Error::unauthorized(why));
    let Some(consumer) = consumer else {
        return no("Provided consumer does not exist.");
    };
    if request.consumer_id != consumer_id {
        return no("Provided consumer key does not match stored consumer key.");
    }
    signed.check(now)?;
    let secrets = [&consumer.encrypted_secret, &request.encrypted_secret];
    let [consumer_secret, request_secret] = secrets.map(|s| unseal(&keystone, s));
    if !signed.is_signed_by(&consumer_secret?, &request_secret?) {
        tracing::info!(consumer.id = consumer_id, "a signature was wrong");
        return no("Invalid signature");
    }
    let (Some(stored), Some(user_id)) = (&request.verifier, &request.user_id) else {
        return no("Request Token does not have an authorizing user id.");
    };
    if !same_secret(stored, verifier) {
        return no("Provided verifier does not match stored verifier");
    }
    use_once(&keystone, &signed).await?;
    let secret = new_hex_id();
    let row = AccessTokenRow {
        id: new_hex_id(),
        consumer_id,
        project_id: request.project_id.clone(),
        encrypted_secret: seal(&keystone, &secret)?,
        user_id: user_id.clone(),
        role_ids: request.role_ids.clone(),
        expires_at: end(now, keystone.conf.oauth1.access_token_duration),
    };
    let reply = form_reply(&row.id, &secret, row.expires_at);
    tracing::info!(
        access_token.id = row.id,
        user.id = row.user_id,
        "access token created"
    );
    // Not if the user thought again meanwhile, and once only.
    let same = all([eq("id", &id), eq("verifier", stored)]);
    keystone
        .db
        .write(
            move |tx| match tx.delete::<RequestTokenRow>(same.clone())? {
                1 => tx.insert(&row),
                _ => Err(Error::not_found("Request token not found")),
            },
        )
        .await?;
    Ok(reply)
}
