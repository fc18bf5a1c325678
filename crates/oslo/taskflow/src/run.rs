//! One flow, from where it stands to its end, a pause, or the loss of its lease.

use crate::engine::Inner;
use crate::fault::{Fault, Moment};
use crate::kind::Kind;
use crate::row::{self, Direction, FlowRow};
use base::{Error, Result, Timestamp};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often an undo is tried before it is given up, so that the resource can end in ERROR; some minutes.
const UNDO_ATTEMPTS: i64 = 20;
/// The same for errors that will be the same tomorrow.
const UNDO_ATTEMPTS_HOPELESS: i64 = 3;

/// Runs a claimed flow.
pub(crate) async fn run(inner: &Arc<Inner>, kind: &dyn Kind, row: FlowRow) {
    let span = tracing::info_span!(
        "flow",
        flow.name = %row.name,
        flow.id = %row.id,
        resource.id = %row.resource_id,
        request.id = %row.request_id
    );
    let id = row.id.clone();
    let work = async {
        if let Err(error) = steps(inner, kind, row).await {
            // The lease runs out, and somebody goes on.
            tracing::error!(flow.id = %id, %error, "a flow was left where it is: its state cannot be saved");
        }
    };
    work.instrument(span).await;
}

async fn steps(inner: &Arc<Inner>, kind: &dyn Kind, mut row: FlowRow) -> Result<()> {
    loop {
        if inner.stopping.is_cancelled() {
            row.owner = String::new();
            row.lease_until = Timestamp(0);
            save(inner, &row).await?;
            return Ok(());
        }
        let finished = match row.direction {
            Direction::Do => row.step >= kind.steps(),
            Direction::Undo => row.step < -1,
        };
        if finished {
            let (id, owner) = (row.id.clone(), inner.owner.clone());
            inner
                .db
                .write(move |tx| row::finish(tx, &id, &owner))
                .await?;
            return Ok(());
        }
        let Some(outcome) = leased(inner, &row, step(inner, kind, &row)).await else {
            tracing::warn!(flow.id = %row.id, "the lease was lost; another engine goes on");
            return Ok(());
        };
        let ran = row.step;
        let undo = row.direction == Direction::Undo;
        let flow = advance(inner, kind, &mut row, outcome)?;
        if !save(inner, &row).await? {
            tracing::warn!(flow.id = %row.id, "the lease was lost; another engine goes on");
            return Ok(());
        }
        fault(inner, ran, undo, Moment::Saved).await;
        if flow.is_break() {
            wake_later(inner, row.lease_until);
            return Ok(());
        }
    }
}

/// Runs the current step; gives the state afterwards.
async fn step(inner: &Inner, kind: &dyn Kind, row: &FlowRow) -> (String, Result<()>) {
    let undo = row.direction == Direction::Undo;
    if fault(inner, row.step, undo, Moment::Before).await == Fault::Fail {
        return (
            row.state_json.clone(),
            Err(Error::conflict("a fault before the step")),
        );
    }
    let mut outcome = once(kind, row, row.state_json.clone()).await;
    match fault(inner, row.step, undo, Moment::After).await {
        Fault::Fail => {
            outcome.1 = outcome
                .1
                .and(Err(Error::conflict("a fault after the step")))
        }
        // Twice with the old state is what a crash before the save makes.
        Fault::Repeat if outcome.1.is_ok() => {
            outcome = once(kind, row, row.state_json.clone()).await
        }
        _ => {}
    }
    outcome
}

async fn once(kind: &dyn Kind, row: &FlowRow, state: String) -> (String, Result<()>) {
    if row.direction == Direction::Undo && row.step < 0 {
        let error = row::error_from_json(row.error_json.as_deref());
        return (state.clone(), kind.reverted(state, error).await);
    }
    kind.run(state, row.step, row.direction).await
}

/// What follows from the outcome: the next step, the way back, or a pause.
fn advance(
    inner: &Inner,
    kind: &dyn Kind,
    row: &mut FlowRow,
    (state, outcome): (String, Result<()>),
) -> Result<ControlFlow<()>> {
    let name = kind.step_name(row.step);
    row.state_json = state;
    row.lease_until = Timestamp::now().plus(inner.lease);
    let Err(error) = outcome else {
        row.step += if row.direction == Direction::Do {
            1
        } else {
            -1
        };
        row.attempts = 0;
        return Ok(ControlFlow::Continue(()));
    };
    row.attempts += 1;
    let transient = matches!(error.kind(), base::Kind::Unavailable | base::Kind::Timeout);
    let again = match row.direction {
        Direction::Do => transient && row.attempts <= i64::from(kind.retries(row.step)),
        // The last word must be heard.
        Direction::Undo if row.step < 0 => true,
        Direction::Undo if transient => row.attempts < UNDO_ATTEMPTS,
        Direction::Undo => row.attempts < UNDO_ATTEMPTS_HOPELESS,
    };
    if again {
        let doublings = u32::try_from(row.attempts - 1).unwrap_or(16).min(16);
        let pause = inner
            .pause
            .saturating_mul(1 << doublings)
            .min(LONGEST_PAUSE);
        tracing::warn!(flow.id = %row.id, ?error, "{} of {name} failed and is tried again in {pause:?}", row.direction);
        row.owner = String::new();
        row.lease_until = Timestamp::now().plus(pause);
        return Ok(ControlFlow::Break(()));
    }
    row.attempts = 0;
    match row.direction {
        Direction::Do => {
            tracing::warn!(flow.id = %row.id, ?error, "{name} failed; the flow is undone");
            row.error_json = Some(row::error_to_json(&error)?);
            // The failed step included: it may have happened half.
            row.direction = Direction::Undo;
        }
        Direction::Undo => {
            tracing::error!(flow.id = %row.id, ?error, "undo of {name} is given up; something may be left behind");
            row.step -= 1;
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Renews the lease while the work runs; `None` if it was lost, and the work is dropped then.
async fn leased<T>(inner: &Inner, row: &FlowRow, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => return Some(outcome),
            () = tokio::time::sleep(inner.lease / 3) => {
                let (id, owner, lease) = (row.id.clone(), inner.owner.clone(), inner.lease);
                match inner.db.write(move |tx| row::renew(tx, &id, &owner, lease)).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => tracing::warn!(flow.id = %row.id, %error, "the lease was not renewed"),
                }
            }
        }
    }
}

async fn save(inner: &Inner, row: &FlowRow) -> Result<bool> {
    let (row, owner) = (row.clone(), inner.owner.clone());
    inner.db.write(move |tx| row::save(tx, &row, &owner)).await
}

fn wake_later(inner: &Arc<Inner>, when: Timestamp) {
    let inner = Arc::downgrade(inner);
    let pause = when.since(Timestamp::now());
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        if let Some(inner) = inner.upgrade() {
            inner.wake.notify_one();
        }
    });
}

async fn fault(inner: &Inner, step: i64, undo: bool, moment: Moment) -> Fault {
    let fault = inner
        .faults
        .as_ref()
        .map_or(Fault::None, |faults| faults(step, undo, moment));
    if fault == Fault::Crash {
        inner.killed.cancel();
        // Whoever watches `killed` drops this task here.
        std::future::pending::<()>().await;
    }
    fault
}
