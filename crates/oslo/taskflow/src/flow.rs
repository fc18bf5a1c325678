//! What the author of a flow writes.

use base::{Error, Result};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Names a submitted flow.
pub type FlowId = String;

/// A step or its undo: `|flow, deps| Box::pin(claim(flow, deps))` with
/// `async fn claim(flow: &mut CreateVolume, deps: Arc<Deps>) -> Result<()>`.
pub type StepFn<F> = for<'a> fn(&'a mut F, Arc<<F as Flow>::Deps>) -> BoxFuture<'a, Result<()>>;

/// A piece of durable work. The struct is the state; what a step writes into it is saved when the step ends,
/// also when it ends with an error.
pub trait Flow: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name in the table; never changes while flows of this name exist.
    const NAME: &'static str;

    /// What steps work with; not saved.
    type Deps: Send + Sync + 'static;

    /// The steps, in order. New ones are added at the end, for the sake of flows that run during an upgrade.
    fn steps() -> Vec<Step<Self>>
    where
        Self: Sized;

    /// The noun that the flow works on. Flows of one noun run one after another, in the order of submission.
    fn resource_id(&self) -> &str;

    /// The request that wanted it.
    fn request_id(&self) -> &str;

    /// Whose work it is, if the engine is shared fairly ([`crate::Builder::share`]): a project. Nobody's is not bounded. All flows
    /// of one noun have the same.
    fn share(&self) -> &str {
        ""
    }

    /// Called after the last undo: puts the resource into ERROR with a reason. Tried until it succeeds.
    fn reverted(&self, deps: Arc<Self::Deps>, error: Error) -> BoxFuture<'_, Result<()>>;
}

/// A pair of do and undo.
pub struct Step<F: Flow> {
    pub(crate) name: &'static str,
    pub(crate) run: StepFn<F>,
    pub(crate) undo: Option<StepFn<F>>,
    pub(crate) retries: u32,
}

impl<F: Flow> Step<F> {
    /// A step that needs no undo.
    pub fn new(name: &'static str, run: StepFn<F>) -> Step<F> {
        Step {
            name,
            run,
            undo: None,
            retries: 0,
        }
    }

    /// What takes it back. Runs for the failed step too, which may have happened half.
    pub fn undo(mut self, undo: StepFn<F>) -> Step<F> {
        self.undo = Some(undo);
        self
    }

    /// How often the step is tried again when it fails with `Unavailable` or `Timeout`.
    pub fn retries(mut self, retries: u32) -> Step<F> {
        self.retries = retries;
        self
    }
}
