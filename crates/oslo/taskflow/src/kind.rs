//! A flow without its type: what the engine knows of it.

use crate::flow::{Flow, Step};
use crate::row::Direction;
use base::{Error, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// The steps of one kind of flow.
pub(crate) trait Kind: Send + Sync {
    fn steps(&self) -> i64;
    fn step_name(&self, step: i64) -> &'static str;
    fn retries(&self, step: i64) -> u32;
    /// Runs a step or its undo; gives the state afterwards, unless it could not be read at all.
    fn run(
        &self,
        state: String,
        step: i64,
        direction: Direction,
    ) -> BoxFuture<'_, (String, Result<()>)>;
    /// Tells the flow that everything was undone.
    fn reverted(&self, state: String, error: Error) -> BoxFuture<'_, Result<()>>;
}

pub(crate) struct Typed<F: Flow> {
    steps: Vec<Step<F>>,
    deps: Arc<F::Deps>,
}

impl<F: Flow> Typed<F> {
    pub(crate) fn new(deps: Arc<F::Deps>) -> Typed<F> {
        Typed {
            steps: F::steps(),
            deps,
        }
    }

    fn step(&self, step: i64) -> Option<&Step<F>> {
        self.steps.get(usize::try_from(step).ok()?)
    }
}

fn read<F: Flow>(state: &str) -> Result<F> {
    serde_json::from_str(state)
        .map_err(|e| Error::internal(format!("the state of a {} flow: {e}", F::NAME)))
}

async fn guarded(what: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let words = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
                (Some(words), _) => (*words).to_string(),
                (_, Some(words)) => words.clone(),
                _ => "no words".to_string(),
            };
            Err(Error::internal(format!("{what} panicked: {words}")))
        }
    }
}

impl<F: Flow> Kind for Typed<F> {
    fn steps(&self) -> i64 {
        self.steps.len() as i64
    }

    fn step_name(&self, step: i64) -> &'static str {
        self.step(step).map_or("reverted", |s| s.name)
    }

    fn retries(&self, step: i64) -> u32 {
        self.step(step).map_or(0, |s| s.retries)
    }

    fn run(
        &self,
        state: String,
        step: i64,
        direction: Direction,
    ) -> BoxFuture<'_, (String, Result<()>)> {
        async move {
            let Some(step) = self.step(step) else {
                let gone = Error::internal(format!("{} has no step {step} any more", F::NAME));
                // Going back over a step that no longer exists is no obstacle.
                return (
                    state,
                    if direction == Direction::Undo {
                        Ok(())
                    } else {
                        Err(gone)
                    },
                );
            };
            let function = match direction {
                Direction::Do => Some(step.run),
                Direction::Undo => step.undo,
            };
            let Some(function) = function else {
                return (state, Ok(()));
            };
            let mut flow = match read::<F>(&state) {
                Ok(flow) => flow,
                Err(error) => return (state, Err(error)),
            };
            // Inside, so that a panic before the future is made counts too.
            let work = async { function(&mut flow, self.deps.clone()).await };
            let outcome = guarded(step.name, work).await;
            match serde_json::to_string(&flow) {
                Ok(after) => (after, outcome),
                Err(error) => (state, outcome.and(Err(error.into()))),
            }
        }
        .boxed()
    }

    fn reverted(&self, state: String, error: Error) -> BoxFuture<'_, Result<()>> {
        async move {
            let flow = read::<F>(&state)?;
            guarded("reverted", async {
                flow.reverted(self.deps.clone(), error).await
            })
            .await
        }
        .boxed()
    }
}
