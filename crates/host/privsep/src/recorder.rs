//! A host for tests on which nothing happens: commands are remembered and answered from a script.

use crate::{Limits, Output, Program};
use base::Result;
use std::sync::{Mutex, PoisonError};

/// A command that would have been run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The program.
    pub program: Program,
    /// Its arguments, secrets blanked.
    pub args: Vec<String>,
    /// What it would have read.
    pub stdin: Option<Vec<u8>>,
    /// The network namespace it would have run in.
    pub netns: Option<String>,
    /// What it would have been allowed to use.
    pub limits: Option<Limits>,
}

impl Recorded {
    /// The command line.
    pub fn line(&self) -> String {
        let line = [self.program.name()]
            .into_iter()
            .chain(self.args.iter().map(String::as_str));
        line.collect::<Vec<_>>().join(" ")
    }
}

type Answer = Box<dyn Fn(&Recorded) -> Option<Result<Output>> + Send>;

/// What was asked for, and what is answered.
#[derive(Default)]
pub struct Recorder {
    calls: Mutex<Vec<Recorded>>,
    answers: Mutex<Vec<Answer>>,
}

impl Recorder {
    /// Everything so far.
    pub fn calls(&self) -> Vec<Recorded> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Everything so far, as command lines.
    pub fn lines(&self) -> Vec<String> {
        self.calls().iter().map(Recorded::line).collect()
    }

    /// Forgets what was asked so far.
    pub fn clear(&self) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Adds an answer; the newest that returns `Some` counts, else exit code 0 and no output.
    pub fn on(&self, answer: impl Fn(&Recorded) -> Option<Result<Output>> + Send + 'static) {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(answer));
    }

    /// Answers command lines that begin with `prefix` with `stdout`.
    pub fn reply(&self, prefix: &str, stdout: &str) {
        let (prefix, stdout) = (prefix.to_string(), stdout.as_bytes().to_vec());
        self.on(move |call| {
            let output = || {
                Ok(Output {
                    stdout: stdout.clone(),
                    ..Output::default()
                })
            };
            call.line().starts_with(&prefix).then(output)
        });
    }

    pub(crate) fn answer(&self, call: &Recorded) -> Result<Output> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call.clone());
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers
            .iter()
            .rev()
            .find_map(|a| a(call))
            .unwrap_or_else(|| Ok(Output::default()))
    }
}
