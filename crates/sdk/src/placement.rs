//! Placement, as compute and network agents need it. Every call is in the service's own name.

use crate::client::{Caller, Sdk};
use base::{Error, Kind, Result};
use http::Method;
use placement_types::{
    AllocationCandidates, AllocationRequest, ConsumerAllocations, Inventory, ResourceProvider,
    Resources, VERSION,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Writers who lose a race look again so many times.
const ATTEMPTS: usize = 8;
const CONCURRENT: &str = "placement.concurrent_update";

/// Placement's typed client, from [`Sdk::placement`].
pub struct PlacementClient {
    sdk: Sdk,
}

/// Whose allocations are written.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// The instance's (or migration's) id.
    pub id: &'a str,
    /// Whose usage it counts as.
    pub project_id: &'a str,
    /// Likewise.
    pub user_id: &'a str,
    /// `INSTANCE`, `MIGRATION`.
    pub consumer_type: &'a str,
}

impl Sdk {
    /// The placement service.
    pub fn placement(&self) -> PlacementClient {
        PlacementClient {
            sdk: self.with_version(VERSION),
        }
    }
}

fn is_race(error: &Error) -> bool {
    error.kind() == Kind::Conflict && error.error_class() == Some(CONCURRENT)
}

impl PlacementClient {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let answer = self
            .sdk
            .request(Caller::Service, "placement", method, path, body)
            .await?;
        if answer.body.is_empty() {
            Ok(Value::Null)
        } else {
            answer.json()
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let value = self.ask(Method::GET, path, None).await?;
        serde_json::from_value(value).map_err(|e| Error::internal(format!("placement {path}: {e}")))
    }

    /// The provider, if it is known.
    pub async fn find_provider(&self, id: &str) -> Result<Option<ResourceProvider>> {
        match self.get(&format!("/resource_providers/{id}")).await {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes sure that the provider is there under this name and parent.
    pub async fn ensure_provider(
        &self,
        id: &str,
        name: &str,
        parent: Option<&str>,
    ) -> Result<ResourceProvider> {
        for _ in 0..ATTEMPTS {
            let path = format!("/resource_providers/{id}");
            let body = match self.find_provider(id).await? {
                Some(p) if p.name == name && p.parent_provider_uuid.as_deref() == parent => {
                    return Ok(p);
                }
                Some(_) => {
                    let body = json!({"name": name, "parent_provider_uuid": parent});
                    self.ask(Method::PUT, &path, Some(body)).await
                }
                None => {
                    let body = json!({"uuid": id, "name": name, "parent_provider_uuid": parent});
                    self.ask(Method::POST, "/resource_providers", Some(body))
                        .await
                }
            };
            match body {
                Ok(value) => return Ok(serde_json::from_value(value)?),
                // Somebody else was faster, unless the name belongs to another provider.
                Err(e) if e.kind() == Kind::Conflict => {
                    if self.find_provider(id).await?.is_none() {
                        return Err(e);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::unavailable(format!(
            "Resource provider {id} keeps changing."
        )))
    }

    /// Deletes a provider; one that is not there is fine.
    pub async fn delete_provider(&self, id: &str) -> Result<()> {
        match self
            .ask(Method::DELETE, &format!("/resource_providers/{id}"), None)
            .await
        {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// PUT with the provider's current generation, again after a lost race; nothing is written if `same` already holds.
    async fn put_with_generation(
        &self,
        path: &str,
        same: impl Fn(&Value) -> bool,
        mut body: Value,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let now: Value = self.get(path).await?;
            if same(&now) {
                return Ok(());
            }
            body["resource_provider_generation"] = now["resource_provider_generation"].clone();
            match self.ask(Method::PUT, path, Some(body.clone())).await {
                Err(e) if is_race(&e) => {}
                other => return other.map(drop),
            }
        }
        Err(Error::unavailable(format!("{path} keeps changing.")))
    }

    /// Makes the provider's inventories exactly these.
    pub async fn set_inventory(
        &self,
        id: &str,
        inventories: &BTreeMap<String, Inventory>,
    ) -> Result<()> {
        let path = format!("/resource_providers/{id}/inventories");
        let same = |now: &Value| {
            let now: Result<BTreeMap<String, Inventory>, _> =
                serde_json::from_value(now["inventories"].clone());
            now.is_ok_and(|now| now == *inventories)
        };
        self.put_with_generation(&path, same, json!({"inventories": inventories}))
            .await
    }

    /// The provider's inventories.
    pub async fn inventory(&self, id: &str) -> Result<BTreeMap<String, Inventory>> {
        let mut value: Value = self
            .get(&format!("/resource_providers/{id}/inventories"))
            .await?;
        Ok(serde_json::from_value(value["inventories"].take())?)
    }

    /// Makes the provider's traits exactly these; custom ones are created.
    pub async fn set_traits(&self, id: &str, traits: &BTreeSet<String>) -> Result<()> {
        for name in traits.iter().filter(|t| t.starts_with("CUSTOM_")) {
            self.ask(Method::PUT, &format!("/traits/{name}"), None)
                .await?;
        }
        let path = format!("/resource_providers/{id}/traits");
        let same = |now: &Value| now["traits"] == json!(traits);
        self.put_with_generation(&path, same, json!({"traits": traits}))
            .await
    }

    /// The provider's traits.
    pub async fn traits(&self, id: &str) -> Result<BTreeSet<String>> {
        let mut value: Value = self
            .get(&format!("/resource_providers/{id}/traits"))
            .await?;
        Ok(serde_json::from_value(value["traits"].take())?)
    }

    /// Makes the provider's aggregates exactly these.
    pub async fn set_aggregates(&self, id: &str, aggregates: &BTreeSet<String>) -> Result<()> {
        let path = format!("/resource_providers/{id}/aggregates");
        let same = |now: &Value| now["aggregates"] == json!(aggregates);
        self.put_with_generation(&path, same, json!({"aggregates": aggregates}))
            .await
    }

    /// The provider's aggregates.
    pub async fn aggregates(&self, id: &str) -> Result<BTreeSet<String>> {
        let mut value: Value = self
            .get(&format!("/resource_providers/{id}/aggregates"))
            .await?;
        Ok(serde_json::from_value(value["aggregates"].take())?)
    }

    /// Adds and removes single aggregates (a host joins or leaves a nova aggregate), whatever else is there.
    pub async fn change_aggregates(&self, id: &str, add: &[&str], remove: &[&str]) -> Result<()> {
        let path = format!("/resource_providers/{id}/aggregates");
        for _ in 0..ATTEMPTS {
            let now: Value = self.get(&path).await?;
            let mut wanted: BTreeSet<String> = serde_json::from_value(now["aggregates"].clone())?;
            wanted.extend(add.iter().map(|a| a.to_string()));
            wanted.retain(|a| !remove.contains(&a.as_str()));
            if now["aggregates"] == json!(wanted) {
                return Ok(());
            }
            let generation = &now["resource_provider_generation"];
            let body = json!({"aggregates": wanted, "resource_provider_generation": generation});
            match self.ask(Method::PUT, &path, Some(body)).await {
                Err(e) if is_race(&e) => {}
                other => return other.map(drop),
            }
        }
        Err(Error::unavailable(format!("{path} keeps changing.")))
    }

    /// Makes sure that a custom resource class exists.
    pub async fn ensure_class(&self, name: &str) -> Result<()> {
        self.ask(Method::PUT, &format!("/resource_classes/{name}"), None)
            .await
            .map(drop)
    }

    /// Who could serve; `query` is the query string without `?`.
    pub async fn allocation_candidates(&self, query: &str) -> Result<AllocationCandidates> {
        self.get(&format!("/allocation_candidates?{query}")).await
    }

    /// The providers of the candidates, without what else is said of them: with a thousand hosts, most of the answer.
    pub async fn candidate_providers(&self, query: &str) -> Result<HashSet<String>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            allocation_requests: Vec<Way>,
        }
        #[derive(serde::Deserialize)]
        struct Way {
            allocations: HashMap<String, serde::de::IgnoredAny>,
        }
        let path = format!("/allocation_candidates?{query}");
        let answer = self
            .sdk
            .request(Caller::Service, "placement", Method::GET, &path, None)
            .await?;
        let answer: Answer = answer.json()?;
        let ways = answer.allocation_requests.into_iter();
        Ok(ways.flat_map(|way| way.allocations.into_keys()).collect())
    }

    /// What a consumer holds.
    pub async fn allocations(&self, consumer: &str) -> Result<ConsumerAllocations> {
        self.get(&format!("/allocations/{consumer}")).await
    }

    /// Claims for a consumer that holds nothing yet. A consumer that holds exactly this already (the claim was
    /// repeated after a crash) is fine; one that holds something else is a conflict. A provider without room answers a
    /// conflict too, and then the next candidate may do.
    pub async fn claim(&self, consumer: Consumer<'_>, request: &AllocationRequest) -> Result<()> {
        match self.put(consumer, &request.allocations, None).await {
            Err(e) if is_race(&e) => {
                let held = self.allocations(consumer.id).await?.allocations;
                if held == request.allocations {
                    Ok(())
                } else {
                    Err(e)
                }
            }
            other => other,
        }
    }

    /// Makes what a consumer holds exactly this, whatever it held.
    pub async fn replace_allocations(
        &self,
        consumer: Consumer<'_>,
        allocations: &BTreeMap<String, Resources>,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let held = self.allocations(consumer.id).await?;
            if held.allocations == *allocations {
                return Ok(());
            }
            match self
                .put(consumer, allocations, held.consumer_generation)
                .await
            {
                Err(e) if is_race(&e) => {}
                other => return other,
            }
        }
        Err(Error::unavailable(format!(
            "Allocations of {} keep changing.",
            consumer.id
        )))
    }

    /// Moves what `from` holds to the new consumer `to`, in one step (a migration takes over the source's allocations).
    pub async fn move_allocations(&self, from: Consumer<'_>, to: Consumer<'_>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let held = self.allocations(from.id).await?;
            if held.allocations.is_empty() {
                return Ok(());
            }
            let target = self.allocations(to.id).await?;
            let part = |c: Consumer<'_>, a: Value, generation: Option<i64>| {
                json!({
                    "allocations": a, "project_id": c.project_id, "user_id": c.user_id,
                    "consumer_type": c.consumer_type, "consumer_generation": generation,
                })
            };
            let resources = json!(held.allocations);
            let mut body = serde_json::Map::new();
            body.insert(
                from.id.into(),
                part(from, json!({}), held.consumer_generation),
            );
            body.insert(
                to.id.into(),
                part(to, resources, target.consumer_generation),
            );
            match self
                .ask(Method::POST, "/allocations", Some(Value::Object(body)))
                .await
            {
                Err(e) if is_race(&e) => {}
                other => return other.map(drop),
            }
        }
        Err(Error::unavailable(format!(
            "Allocations of {} keep changing.",
            from.id
        )))
    }

    async fn put(
        &self,
        consumer: Consumer<'_>,
        allocations: &BTreeMap<String, Resources>,
        generation: Option<i64>,
    ) -> Result<()> {
        let body = json!({
            "allocations": allocations,
            "project_id": consumer.project_id,
            "user_id": consumer.user_id,
            "consumer_type": consumer.consumer_type,
            "consumer_generation": generation,
        });
        self.ask(
            Method::PUT,
            &format!("/allocations/{}", consumer.id),
            Some(body),
        )
        .await
        .map(drop)
    }

    /// Releases all that a consumer holds; nothing held is fine.
    pub async fn delete_allocations(&self, consumer: &str) -> Result<()> {
        match self
            .ask(Method::DELETE, &format!("/allocations/{consumer}"), None)
            .await
        {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Who takes what from a provider, by consumer.
    pub async fn provider_allocations(&self, id: &str) -> Result<BTreeMap<String, Resources>> {
        let mut value: Value = self
            .get(&format!("/resource_providers/{id}/allocations"))
            .await?;
        Ok(serde_json::from_value(value["allocations"].take())?)
    }

    /// What a project (and user) holds in all, by class (quota by placement).
    pub async fn usages(
        &self,
        project_id: &str,
        user_id: Option<&str>,
    ) -> Result<BTreeMap<String, i64>> {
        let encode = oslo_http::percent_encode;
        let mut path = format!(
            "/usages?project_id={}&consumer_type=all",
            encode(project_id)
        );
        if let Some(user) = user_id {
            path.push_str(&format!("&user_id={}", encode(user)));
        }
        let mut value: Value = self.get(&path).await?;
        Ok(serde_json::from_value(value["usages"]["all"].take()).unwrap_or_default())
    }
}
