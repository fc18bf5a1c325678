//! Breaks a flow in every way it must survive: one call per flow in its service's tests.

use crate::engine::Engine;
use crate::fault::{Fault, Faults, Moment};
use crate::flow::Flow;
use crate::{MIGRATIONS, row};
use base::Result;
use oslo_db::Db;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps ran.
    Finished,
    /// Everything was undone, and `reverted` ran.
    Reverted,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// One way to break a flow.
struct Scenario {
    words: String,
    outcome: Outcome,
    /// Faults that happen once, each at its place.
    places: Vec<(i64, bool, Moment, Fault)>,
}

/// Runs the flow once undisturbed, and once for each of these, at each step: the step fails before or after it did
/// its work; the step, or its undo, runs twice; the process ends after the step, or after its undo, before or after
/// the state is saved. `setup` gives a fresh database (with the service's tables and the resource's row), the flow,
/// and its deps; `check` looks at the world at the end.
///
/// # Panics
/// It is an assertion: with the name of the scenario, when the flow does not end or `check` is not content.
pub async fn flow_survives<F, S, SF, C, CF>(setup: S, check: C)
where
    F: Flow,
    S: Fn() -> SF,
    SF: Future<Output = (Db, F, Arc<F::Deps>)>,
    C: Fn(Db, Arc<F::Deps>, Outcome) -> CF,
    CF: Future<Output = Result<()>>,
{
    for scenario in scenarios(F::steps().len() as i64) {
        let (db, flow, deps) = setup().await;
        let ended = play(&scenario, &db, flow, &deps).await;
        let checked = match ended {
            Ok(()) => check(db, deps, scenario.outcome).await,
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            panic!(
                "{}, {}, should end {:?}: {error}",
                F::NAME,
                scenario.words,
                scenario.outcome
            );
        }
    }
}

fn scenarios(steps: i64) -> Vec<Scenario> {
    use Moment::{After, Before, Saved};
    use Outcome::{Finished, Reverted};
    let mut all = Vec::new();
    let mut add = |words: String, outcome, places| {
        all.push(Scenario {
            words,
            outcome,
            places,
        })
    };
    add("undisturbed".to_string(), Finished, vec![]);
    for step in 0..steps {
        add(
            format!("step {step} fails before its work"),
            Reverted,
            vec![(step, false, Before, Fault::Fail)],
        );
        add(
            format!("step {step} fails after its work"),
            Reverted,
            vec![(step, false, After, Fault::Fail)],
        );
        add(
            format!("step {step} runs twice"),
            Finished,
            vec![(step, false, After, Fault::Repeat)],
        );
        add(
            format!("crash in step {step}"),
            Finished,
            vec![(step, false, After, Fault::Crash)],
        );
        add(
            format!("crash after step {step}"),
            Finished,
            vec![(step, false, Saved, Fault::Crash)],
        );
    }
    let failing = (steps - 1, false, After, Fault::Fail);
    for step in -1..steps {
        for (words, moment, fault) in [
            ("runs twice", After, Fault::Repeat),
            ("is cut by a crash", After, Fault::Crash),
            ("is followed by a crash", Saved, Fault::Crash),
        ] {
            add(
                format!("undo of step {step} {words}"),
                Reverted,
                vec![failing, (step, true, moment, fault)],
            );
        }
    }
    all
}

async fn play<F: Flow>(scenario: &Scenario, db: &Db, flow: F, deps: &Arc<F::Deps>) -> Result<()> {
    db.migrate("taskflow", MIGRATIONS).await?;
    let places: Vec<_> = scenario
        .places
        .iter()
        .map(|place| (*place, AtomicBool::new(false)))
        .collect();
    let faults: Faults = Arc::new(move |step, undo, moment| {
        let here = |p: &(i64, bool, Moment, Fault)| (p.0, p.1, p.2) == (step, undo, moment);
        let hit = places
            .iter()
            .find(|(place, used)| here(place) && !used.swap(true, Ordering::SeqCst));
        hit.map_or(Fault::None, |(place, _)| place.3)
    });
    let start = || {
        let mut builder = Engine::builder(db.clone(), "testhost").register::<F>(deps.clone());
        builder.faults = Some(faults.clone());
        let engine = builder.pause(Duration::from_millis(1)).build();
        engine.start();
        engine
    };
    let mut engine = start();
    let (writer, flow) = (engine.clone(), Arc::new(flow));
    db.write(move |tx| writer.submit(tx, &*flow)).await?;
    engine.wake();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        tokio::select! {
            idle = engine.wait_idle(left) => {
                let names = [F::NAME];
                let pending = db.read(move |tx| row::pending(tx, &names)).await?;
                engine.stop().await;
                return if pending == 0 { Ok(()) } else { idle };
            }
            () = engine.inner.killed.cancelled() => {
                engine.stop().await;
                engine = start();
            }
        }
    }
}
