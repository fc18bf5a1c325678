//! Where the test kit breaks things. Outside tests there is no fault.

use std::sync::Arc;

/// When in the life of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before it runs.
    Before,
    /// After it ran, before its state is saved.
    After,
    /// After its state is saved.
    Saved,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The step counts as failed.
    Fail,
    /// It runs once more.
    Repeat,
    /// The process ends.
    Crash,
}

/// Asked with the index of the step (-1: `reverted`), whether it is an undo, and the moment.
pub(crate) type Faults = Arc<dyn Fn(i64, bool, Moment) -> Fault + Send + Sync>;
