//! Create, show, list, update and delete of any noun: the one pipeline every resource goes through.

use crate::list::Listing;
use crate::noun::{Body, Call, Fields, Noun, View};
use crate::{Neutron, fault, pipeline, tags};
use base::{Error, Kind, Result};
use oslo_db::{Table, Tx, all, eq, everything};
use oslo_http::{Reply, Req};
use oslo_policy::Lookup;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

impl Call {
    pub(crate) fn of(neutron: &Arc<Neutron>, req: &Req) -> Call {
        Call {
            policy: Arc::clone(req.policy()),
            ..Call::new(neutron, Arc::clone(&req.ctx))
        }
    }
}

pub(crate) fn scope<N: Noun>(call: &Call) -> oslo_db::Cond {
    if call.sees_all() {
        everything()
    } else {
        N::visible(call)
    }
}

/// The row and its view, or 404 if the caller may not see it.
pub(crate) fn load<N: Noun>(tx: &mut Tx, call: &Call, id: &str) -> Result<(N::Row, View)> {
    let row = tx.find(all([eq("id", id), scope::<N>(call)]))?;
    seen::<N>(tx, call, id, row)
}

/// The same for a row that is to be changed: nobody else changes it, or what depends on it, before this transaction ends.
pub(crate) fn take<N: Noun>(tx: &mut Tx, call: &Call, id: &str) -> Result<(N::Row, View)> {
    let row = tx.find_for_update(all([eq("id", id), scope::<N>(call)]))?;
    seen::<N>(tx, call, id, row)
}

/// And for one that others shall not change while this transaction leans on it.
pub(crate) fn lean<N: Noun>(tx: &mut Tx, call: &Call, id: &str) -> Result<(N::Row, View)> {
    let row = crate::db::held::find(tx, all([eq("id", id), scope::<N>(call)]))?;
    seen::<N>(tx, call, id, row)
}

fn seen<N: Noun>(
    tx: &mut Tx,
    call: &Call,
    id: &str,
    row: Option<N::Row>,
) -> Result<(N::Row, View)> {
    let missing = || fault::not_found(N::MEMBER, id);
    let row = row.ok_or_else(missing)?;
    let view = views::<N>(tx, call, vec![row.clone()])?
        .pop()
        .ok_or_else(missing)?;
    if !call
        .policy
        .check(&format!("get_{}", N::MEMBER), &call.ctx, &view)
    {
        return Err(missing());
    }
    Ok((row, view))
}

/// Views with their tags.
pub(crate) fn views<N: Noun>(tx: &mut Tx, call: &Call, rows: Vec<N::Row>) -> Result<Vec<View>> {
    if !N::TAGS || rows.is_empty() {
        return N::views(tx, call, rows);
    }
    let by_id = tags::of(tx, rows.iter().map(N::id))?;
    tagged::<N>(tx, call, rows, &by_id)
}

/// Views of rows whose tags are known.
fn tagged<N: Noun>(
    tx: &mut Tx,
    call: &Call,
    rows: Vec<N::Row>,
    by_id: &HashMap<String, Vec<String>>,
) -> Result<Vec<View>> {
    let mut views = N::views(tx, call, rows)?;
    for view in views.iter_mut().filter(|_| N::TAGS) {
        let id = view.fields.get("id").and_then(Value::as_str);
        let tags = id.and_then(|id| by_id.get(id)).cloned();
        view.fields.put("tags", tags.unwrap_or_default());
    }
    Ok(views)
}

/// A rule asked of many resources. Most rules look at the caller only; those are answered once.
enum Verdict {
    Always(bool),
    Each(String),
}

impl Verdict {
    fn of(call: &Call, rule: String) -> Verdict {
        let unseen = Unseen::default();
        let may = call.policy.check(&rule, &call.ctx, &unseen);
        if unseen.asked.get() {
            Verdict::Each(rule)
        } else {
            Verdict::Always(may)
        }
    }

    fn allows(&self, call: &Call, view: &View) -> bool {
        match self {
            Verdict::Always(may) => *may,
            Verdict::Each(rule) => call.policy.check(rule, &call.ctx, view),
        }
    }
}

/// A target that notes whether a rule looks at it.
#[derive(Default)]
struct Unseen {
    asked: Cell<bool>,
}

impl Lookup for Unseen {
    fn lookup(&self, _: &str) -> Option<&Value> {
        self.asked.set(true);
        None
    }
}

/// Leaves out what the caller may not see, and what was not asked for.
pub(crate) struct Shown<'a> {
    call: &'a Call,
    guarded: Vec<(&'static str, Verdict)>,
    fields: Vec<String>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new<N: Noun>(call: &'a Call, fields: Vec<String>) -> Result<Shown<'a>> {
        let mut guarded = Vec::new();
        for name in N::attributes()?.keys() {
            let rule = format!("get_{}:{name}", N::MEMBER);
            if !call.policy.has_rule(&rule) {
                continue;
            }
            match Verdict::of(call, rule) {
                Verdict::Always(true) => {}
                verdict => guarded.push((name.as_str(), verdict)),
            }
        }
        Ok(Shown {
            call,
            guarded,
            fields,
        })
    }

    pub(crate) fn show(&self, mut view: View) -> Fields {
        let hides = |(name, verdict): &&(&'static str, Verdict)| {
            view.fields.has(name) && !verdict.allows(self.call, &view)
        };
        let hidden: Vec<&str> = self.guarded.iter().filter(hides).map(|(n, _)| *n).collect();
        if !hidden.is_empty() || !self.fields.is_empty() {
            view.fields.retain(|name| {
                let wanted = self.fields.is_empty() || self.fields.iter().any(|f| f == name);
                wanted && !hidden.contains(&name)
            });
        }
        view.fields
    }
}

fn fields(req: &Req) -> Vec<String> {
    req.query
        .all("fields")
        .filter(|f| !f.is_empty())
        .map(str::to_string)
        .collect()
}

/// `{key: value}`, and the links of a page.
pub(crate) struct Wrapped<T> {
    key: &'static str,
    value: T,
    links: Vec<Value>,
}

pub(crate) fn wrap<T>(key: &'static str, value: T) -> Wrapped<T> {
    Wrapped {
        key,
        value,
        links: Vec::new(),
    }
}

impl<T: Serialize> Serialize for Wrapped<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.key, &self.value)?;
        if !self.links.is_empty() {
            map.serialize_entry(&format!("{}_links", self.key), &self.links)?;
        }
        map.end()
    }
}

pub(crate) async fn list<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let listing = Listing::parse::<N>(&req)?;
    let wanted = listing.clone();
    let inner = call.clone();
    let (count, ends, found) = neutron
        .db
        .read(move |tx| {
            let cond = all([scope::<N>(&inner), wanted.cond::<N>(&inner)?]);
            let page = tx.page::<N::Row>(cond, &wanted.paging)?;
            let ends = [page.items.first(), page.items.last()];
            let ends = ends.map(|row| row.map(|r| N::id(r).to_string()));
            let count = page.items.len();
            Ok((count, ends, views::<N>(tx, &inner, page.items)?))
        })
        .await?;
    let shown = Shown::new::<N>(&call, fields(&req))?;
    let readable = Verdict::of(&call, format!("get_{}", N::MEMBER));
    let items: Vec<Fields> = found
        .into_iter()
        .filter(|view| readable.allows(&call, view))
        .map(|view| shown.show(view))
        .collect();
    let links = listing.links(&req, count, &ends);
    Reply::ok(&Wrapped {
        links,
        ..wrap(N::PLURAL, items)
    })
}

pub(crate) async fn show<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let inner = call.clone();
    let view = neutron
        .db
        .read(move |tx| load::<N>(tx, &inner, &id).map(|(_, view)| view))
        .await?;
    Reply::ok(&wrap(
        N::MEMBER,
        Shown::new::<N>(&call, fields(&req))?.show(view),
    ))
}

/// Creates one resource inside a transaction, with all rules; other nouns do not come this way. Also its tags.
fn create_one<N: Noun>(tx: &mut Tx, call: &Call, sent: &Body) -> Result<(N::Row, Vec<String>)> {
    let body = pipeline::prepare_create::<N>(call, sent)?;
    let parent = N::parent(tx, call, &body)?;
    pipeline::enforce::<N>(
        call,
        "create",
        sent_names::<N>(&body, sent)?.as_ref(),
        &pipeline::create_target(&body, parent),
    )?;
    crate::quota::check::<N>(
        tx,
        call,
        body.get("tenant_id").and_then(Value::as_str).unwrap_or(""),
    )?;
    let row = N::create(tx, call, &body)?;
    let mut tags: Vec<String> = body
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_string)
        .collect();
    tags.sort();
    tags.dedup();
    tags::put(tx, N::id(&row), &tags)?;
    Ok((row, tags))
}

/// What the caller sent, in converted form.
fn sent_names<N: Noun>(body: &Body, sent: &Body) -> Result<Box<Body>> {
    let kept = body.iter().filter(|(name, _)| sent.contains_key(*name));
    Ok(Box::new(
        kept.map(|(n, v)| (n.clone(), v.clone())).collect(),
    ))
}

pub(crate) async fn create<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let (bodies, bulk) = pipeline::bodies::<N>(req.json.as_ref())?;
    let views = neutron
        .change(&call, move |tx, call| {
            let mut rows = Vec::with_capacity(bodies.len());
            let mut by_id = HashMap::new();
            for sent in &bodies {
                let (row, tags) = create_one::<N>(tx, call, sent)?;
                by_id.insert(N::id(&row).to_string(), tags);
                rows.push(row);
            }
            tagged::<N>(tx, call, rows, &by_id)
        })
        .await?;
    let shown = Shown::new::<N>(&call, fields(&req))?;
    let mut items: Vec<Fields> = views.into_iter().map(|v| shown.show(v)).collect();
    if bulk {
        return Reply::json(201, &wrap(N::PLURAL, items));
    }
    Reply::json(201, &wrap(N::MEMBER, items.pop()))
}

/// `If-Match: revision_number=N` (COMPAT: neutron's own spelling of an entity tag).
fn constrain(header: Option<&str>, revision: Option<i64>) -> Result<()> {
    let Some(header) = header else { return Ok(()) };
    let wanted = header
        .trim()
        .strip_prefix("revision_number=")
        .and_then(|n| n.trim().parse::<i64>().ok());
    let wanted =
        wanted.ok_or_else(|| Error::bad_request(format!("Unsupported ETag value: {header}")))?;
    match revision {
        Some(current) if current != wanted => {
            let words = format!("Constrained to {wanted}, but current revision is {current}");
            Err(Error::new(Kind::PreconditionFailed, words).class("RevisionNumberConstraintFailed"))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn update<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let sent = pipeline::body::<N>(req.json.as_ref())?;
    let guard = req.header("if-match").map(str::to_string);
    let view = neutron
        .change(&call, move |tx, call| {
            let (row, view) = take::<N>(tx, call, &id)?;
            constrain(guard.as_deref(), N::revision(&row))?;
            let changes = pipeline::prepare_update::<N>(&sent)?;
            pipeline::enforce::<N>(call, "update", &changes, &view.changed(&changes))?;
            let row = N::update(tx, call, row, &changes)?;
            let tags = [(id.clone(), view.tags())].into();
            Ok(tagged::<N>(tx, call, vec![row], &tags)?.pop())
        })
        .await?;
    let view = view.ok_or_else(|| Error::internal("no view of an updated row"))?;
    Reply::ok(&wrap(
        N::MEMBER,
        Shown::new::<N>(&call, fields(&req))?.show(view),
    ))
}

pub(crate) async fn delete<N: Noun>(neutron: Arc<Neutron>, req: Req) -> Result<Reply> {
    let call = Call::of(&neutron, &req);
    let id = req.param("id").to_string();
    let guard = req.header("if-match").map(str::to_string);
    neutron
        .change(&call, move |tx, call| {
            let (row, view) = take::<N>(tx, call, &id)?;
            constrain(guard.as_deref(), N::revision(&row))?;
            pipeline::enforce::<N>(call, "delete", &Body::new(), &view)?;
            N::delete(tx, call, row)?;
            // A tag that comes at this moment waits for the row, and then finds none.
            match view.tags().is_empty() {
                true => Ok(()),
                false => tags::forget(tx, &id),
            }
        })
        .await?;
    Ok(Reply::empty(204))
}

/// The table's name and a check that a filter's column is one of it.
pub(crate) fn column_of<N: Noun>(attribute: &str) -> Option<&'static str> {
    let renamed = match attribute {
        "tenant_id" => Some("project_id"),
        other => N::column(other),
    };
    let name = renamed.unwrap_or(attribute);
    <N::Row as Table>::COLUMNS
        .iter()
        .copied()
        .find(|c| *c == name)
}
