//! The one place that starts programs on the host: argument vectors (never a shell), an allow-list, limits,
//! time-outs, namespaces, and errors that say what failed without telling secrets.
//!
//! Answers to oslo.concurrency's `processutils` and oslo.privsep. Tests use [`Privsep::recorder`].

mod child;
mod command;
mod program;
mod recorder;

pub use command::{Arg, Command, Limits, Output, secret};
pub use program::Program;
pub use recorder::{Recorded, Recorder};

use base::Result;
use std::ffi::OsString;
use std::sync::Arc;

/// The handle through which programs are started. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Privsep {
    recorder: Option<Arc<Recorder>>,
}

impl Privsep {
    /// Starts real programs.
    pub fn new() -> Privsep {
        Privsep::default()
    }

    /// Starts nothing, remembers everything, answers what the recorder was told to answer.
    pub fn recorder() -> (Privsep, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        (
            Privsep {
                recorder: Some(recorder.clone()),
            },
            recorder,
        )
    }

    /// Begins a command.
    pub fn command(&self, program: Program) -> Command {
        Command::new(self.recorder.clone(), program)
    }

    /// Runs `program` with `args` and a minute's patience; an exit code other than 0 is an error.
    pub async fn run(
        &self,
        program: Program,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Output> {
        self.command(program).args(args).run().await
    }

    /// Whether the program is installed (a recorder has them all).
    pub fn has(&self, program: Program) -> bool {
        self.recorder.is_some() || program.find().is_some()
    }
}
