//! Version documents and the list of extensions.

use crate::{Neutron, attributes};
use base::{Error, Result};
use oslo_http::{Reply, Req};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) async fn root(_: Arc<Neutron>, req: Req) -> Result<Reply> {
    let link = json!({"rel": "self", "href": format!("{}/v2.0/", req.base_url)});
    Reply::ok(&json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}))
}

pub(crate) async fn v2(_: Arc<Neutron>, req: Req) -> Result<Reply> {
    let resource = |name: &str, collection: &str| {
        let path = collection.replace('_', "-");
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": format!("{}/v2.0/{path}", req.base_url)}]})
    };
    let resources = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("port", "ports"),
        ("router", "routers"),
        ("floatingip", "floatingips"),
        ("security_group", "security_groups"),
        ("security_group_rule", "security_group_rules"),
    ];
    let resources: Vec<Value> = resources
        .iter()
        .map(|(name, collection)| resource(name, collection))
        .collect();
    Reply::ok(&json!({"resources": resources}))
}

fn view(extension: &Map<String, Value>) -> Value {
    let mut view = extension.clone();
    view.insert("links".into(), json!([]));
    Value::Object(view)
}

pub(crate) async fn extensions(_: Arc<Neutron>, _: Req) -> Result<Reply> {
    let list: Vec<Value> = attributes::extensions().iter().map(view).collect();
    Reply::ok(&json!({"extensions": list}))
}

pub(crate) async fn extension(_: Arc<Neutron>, req: Req) -> Result<Reply> {
    let alias = req.param("alias");
    let found = attributes::extensions()
        .iter()
        .find(|e| e.get("alias").and_then(Value::as_str) == Some(alias));
    match found {
        Some(extension) => Reply::ok(&json!({"extension": view(extension)})),
        None => Err(
            Error::not_found(format!("Extension with alias {alias} does not exist"))
                .class("HTTPNotFound"),
        ),
    }
}
