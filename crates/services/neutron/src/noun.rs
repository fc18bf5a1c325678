//! What the generic pipeline needs to know of a resource: one small trait, a file per noun.

use crate::db::{NetworkRow, PortRow};
use crate::topics::Topic;
use crate::{Neutron, attributes::Attributes};
use base::{CellValue, Error, Result, Timestamp};
use oslo_context::RequestContext;
pub(crate) use oslo_db::in_rows as within;
use oslo_db::{Cond, DUPLICATE, Table, Tx, all, eq};
use oslo_policy::{Enforcer, Lookup};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) type Body = Map<String, Value>;

/// One API call: who, when, by which rules; and what hosts must hear of.
#[derive(Clone)]
pub(crate) struct Call {
    pub neutron: Arc<Neutron>,
    pub ctx: Arc<RequestContext>,
    pub policy: Arc<Enforcer>,
    pub now: Timestamp,
    pub(crate) touched: Arc<Mutex<Touched>>,
    /// Servers whose addresses this changes; compute is told after the commit.
    pub(crate) servers: Arc<Mutex<BTreeSet<String>>>,
    /// Networks that this transaction holds, and whether they are shared with the caller.
    pub(crate) held: Arc<Mutex<HashMap<String, (NetworkRow, bool)>>>,
}

/// What moves with a change, and what is gone with it.
pub(crate) type Touched = (BTreeSet<Topic>, BTreeSet<Topic>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Call {
    pub(crate) fn new(neutron: &Arc<Neutron>, ctx: Arc<RequestContext>) -> Call {
        Call {
            neutron: Arc::clone(neutron),
            ctx,
            policy: Arc::clone(&neutron.policy),
            now: neutron.clock.now(),
            touched: Arc::default(),
            servers: Arc::default(),
            held: Arc::default(),
        }
    }

    /// The cloud acting for itself.
    pub(crate) fn internal(neutron: &Arc<Neutron>) -> Call {
        Call::new(neutron, Arc::new(RequestContext::internal()))
    }

    /// Administrators and services see every project's rows.
    pub(crate) fn sees_all(&self) -> bool {
        self.ctx.is_admin || self.ctx.has_role("service") || self.ctx.has_role("advsvc")
    }

    /// A transaction begins, perhaps not for the first time.
    pub(crate) fn begin(&self) {
        *lock(&self.touched) = Touched::default();
        lock(&self.servers).clear();
        lock(&self.held).clear();
    }

    /// Hosts that depend on this must look again after this transaction.
    pub(crate) fn touch(&self, topic: Topic) {
        lock(&self.touched).0.insert(topic);
    }

    /// What this is about is gone.
    pub(crate) fn forget(&self, topic: Topic) {
        lock(&self.touched).1.insert(topic);
    }

    pub(crate) fn touched(&self) -> (BTreeSet<Topic>, BTreeSet<Topic>) {
        lock(&self.touched).clone()
    }

    /// Remembers a network that stays as it is until the transaction ends.
    pub(crate) fn hold(&self, network: NetworkRow, shared: bool) {
        lock(&self.held).insert(network.id.clone(), (network, shared));
    }

    pub(crate) fn held(&self, network: &str) -> Option<(NetworkRow, bool)> {
        lock(&self.held).get(network).cloned()
    }

    /// The addresses of the server behind this port change.
    pub(crate) fn readdress(&self, tx: &mut Tx, port_id: Option<&str>) -> Result<()> {
        let Some(port_id) = port_id else {
            return Ok(());
        };
        let port = tx.find::<PortRow>(eq("id", port_id))?;
        let guest = port.filter(|p| p.device_owner.starts_with("compute:"));
        self.lock_servers().extend(guest.map(|p| p.device_id));
        Ok(())
    }

    pub(crate) fn lock_servers(&self) -> MutexGuard<'_, BTreeSet<String>> {
        lock(&self.servers)
    }
}

/// A resource's attributes, in the order in which they are shown. Names are of the program, so that a list of hundreds
/// copies and hashes none of them.
#[derive(Default)]
pub(crate) struct Fields(Vec<(&'static str, Shape)>);

/// What an attribute looks like.
enum Shape {
    Value(Value),
    /// Objects of fixed keys, which no policy rule asks for.
    List(Vec<Fields>),
}

impl Fields {
    /// Room for what the largest resource shows.
    pub(crate) fn new() -> Fields {
        Fields(Vec::with_capacity(32))
    }

    /// An object of two or three keys.
    pub(crate) fn small<const N: usize>(pairs: [(&'static str, String); N]) -> Fields {
        let pairs = pairs.into_iter();
        Fields(pairs.map(|(n, v)| (n, Shape::Value(v.into()))).collect())
    }

    /// Adds an attribute that is not there yet.
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, Shape::Value(value.into())));
    }

    /// Adds a list of objects that policy rules cannot ask for.
    pub(crate) fn put_list(&mut self, name: &'static str, list: Vec<Fields>) {
        self.0.push((name, Shape::List(list)));
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| *n == name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match self.0.iter().find(|(n, _)| *n == name) {
            Some((_, Shape::Value(value))) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&'static str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    fn to_map(&self) -> Body {
        let pairs = self.0.iter();
        pairs
            .map(|(n, shape)| ((*n).to_string(), shape.to_value()))
            .collect()
    }
}

impl Shape {
    fn to_value(&self) -> Value {
        match self {
            Shape::Value(value) => value.clone(),
            Shape::List(list) => list.iter().map(Fields::to_map).collect(),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(n, v)| (n, v)))
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Shape::Value(value) => value.serialize(serializer),
            Shape::List(list) => list.serialize(serializer),
        }
    }
}

/// A resource as the API shows it, and what policy rules may ask about its parents.
pub(crate) struct View {
    pub fields: Fields,
    pub parent: Arc<Body>,
}

impl View {
    pub(crate) fn alone(fields: Fields) -> View {
        View {
            fields,
            parent: Arc::default(),
        }
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        let tags = self.fields.get("tags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten().filter_map(Value::as_str);
        tags.map(str::to_string).collect()
    }

    /// What policy rules look at when the resource is about to become this.
    pub(crate) fn changed(&self, changes: &Body) -> Value {
        let mut target = self.parent.as_ref().clone();
        target.extend(self.fields.to_map());
        target.extend(changes.clone());
        Value::Object(target)
    }
}

impl Lookup for View {
    fn lookup(&self, attribute: &str) -> Option<&Value> {
        self.fields
            .get(attribute)
            .or_else(|| self.parent.get(attribute))
    }
}

/// A resource in the pipeline. Everything runs inside the caller's transaction.
pub(crate) trait Noun: Send + Sync + 'static {
    type Row: Table + Clone + Send + Sync;
    /// `network`: the key of a single body and the tail of policy rules.
    const MEMBER: &'static str;
    /// `networks`: the key of lists and of the attribute map.
    const PLURAL: &'static str;
    /// Whether tags may hang on it.
    const TAGS: bool = true;

    fn id(row: &Self::Row) -> &str;
    fn revision(_row: &Self::Row) -> Option<i64> {
        None
    }
    /// The column behind an attribute whose name differs.
    fn column(_attribute: &str) -> Option<&'static str> {
        None
    }
    /// Rows that a caller who does not see all may see.
    fn visible(call: &Call) -> Cond;
    /// Conditions for filters on attributes that are no columns.
    fn filter(_call: &Call, _attribute: &str, _values: &[String]) -> Result<Option<Cond>> {
        Ok(None)
    }
    fn views(tx: &mut Tx, call: &Call, rows: Vec<Self::Row>) -> Result<Vec<View>>;
    /// What policy rules may ask about the parents of a resource that is about to be created.
    fn parent(_tx: &mut Tx, _call: &Call, _body: &Body) -> Result<Body> {
        Ok(Body::new())
    }
    fn create(tx: &mut Tx, call: &Call, body: &Body) -> Result<Self::Row>;
    /// The row is this transaction's alone.
    fn update(tx: &mut Tx, call: &Call, row: Self::Row, changes: &Body) -> Result<Self::Row>;
    /// The row is this transaction's alone.
    fn delete(tx: &mut Tx, call: &Call, row: Self::Row) -> Result<()>;

    fn attributes() -> Result<&'static Attributes> {
        crate::attributes::of(Self::PLURAL)
    }
}

/// Writes a changed row over the one it was read from. If somebody else was faster, the whole change runs again
/// (`Neutron::change`), so that no change is lost and no deleted row comes back.
pub(crate) fn save<T: Table>(tx: &mut Tx, row: &T) -> Result<()> {
    let values: Vec<(&'static str, CellValue)> =
        T::COLUMNS.iter().copied().zip(row.values()).collect();
    let value = |name: &str| {
        values
            .iter()
            .find(|(c, _)| *c == name)
            .map(|(_, v)| v.clone())
    };
    let (Some(id), Some(CellValue::Int(revision))) = (value("id"), value("revision_number")) else {
        return Err(Error::internal(format!("{} has no revisions", T::NAME)));
    };
    if tx.update::<T>(
        all([eq("id", id), eq("revision_number", revision - 1)]),
        &values,
    )? == 1
    {
        return Ok(());
    }
    Err(overtaken())
}

/// Somebody else was faster; the change runs again.
pub(crate) fn overtaken() -> Error {
    Error::conflict("The resource is being changed by somebody else.").class(DUPLICATE)
}

/// Reads an attribute that validators have seen.
pub(crate) trait BodyExt {
    fn text(&self, key: &str) -> String;
    fn maybe_text(&self, key: &str) -> Option<String>;
    fn flag(&self, key: &str) -> bool;
    fn int(&self, key: &str) -> Option<i64>;
    fn list(&self, key: &str) -> Vec<Value>;
    fn typed<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T>;
}

impl BodyExt for Body {
    fn text(&self, key: &str) -> String {
        self.maybe_text(key).unwrap_or_default()
    }

    fn maybe_text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(Value::as_str).map(str::to_string)
    }

    fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }

    fn list(&self, key: &str) -> Vec<Value> {
        self.get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    }

    fn typed<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self.get(key).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value)
            .map_err(|e| Error::bad_request(format!("Invalid input for {key}. Reason: {e}.")))
    }
}

/// The attributes that nearly every resource has.
pub(crate) struct Standard<'a> {
    pub id: &'a str,
    pub project_id: &'a str,
    pub description: &'a str,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision_number: i64,
}

impl Standard<'_> {
    pub(crate) fn put(&self, fields: &mut Fields) {
        fields.put("id", self.id);
        fields.put("tenant_id", self.project_id);
        fields.put("project_id", self.project_id);
        fields.put("description", self.description);
        fields.put("created_at", self.created_at.iso_z());
        fields.put("updated_at", self.updated_at.iso_z());
        fields.put("revision_number", self.revision_number);
    }
}

/// `Standard` of a row that has the usual fields.
#[macro_export]
#[doc(hidden)]
macro_rules! standard {
    ($row:expr) => {
        $crate::noun::Standard {
            id: &$row.id,
            project_id: &$row.project_id,
            description: &$row.description,
            created_at: $row.created_at,
            updated_at: $row.updated_at,
            revision_number: $row.revision_number,
        }
    };
}

/// The changed row must be newer than what it replaces.
#[macro_export]
#[doc(hidden)]
macro_rules! revise {
    ($row:expr, $call:expr) => {
        $row.updated_at = $call.now;
        $row.revision_number += 1;
    };
}
