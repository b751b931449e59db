//! What a pretended container does: a script that tests write.

use std::time::Duration;

use bytes::Bytes;

use super::super::types::Usage;

/// One thing that a program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Print { stderr: bool, bytes: Bytes },
    Sleep(Duration),
    Leave { name: String, bytes: Bytes },
}

/// How a program ends when it is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Exit(i32),
    OutOfMemory {
        /// Whether the engine hears of it only after the end.
        late: bool,
    },
    Never,
}

/// What a program does about the signal that asks it to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnStop {
    /// Ends by the signal.
    Die,
    /// Carries on.
    Ignore,
    /// Ends with a code of its own.
    Exit(i32),
}

/// A pretended container's program. Without more it prints nothing and exits with 0 at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) ending: Ending,
    pub(super) on_stop: OnStop,
    pub(super) unrunnable: Option<i32>,
    pub(super) refused: Option<String>,
    pub(super) usage: Usage,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            ending: Ending::Exit(0),
            on_stop: OnStop::Die,
            unrunnable: None,
            refused: None,
            usage: Usage::default(),
        }
    }
}

impl Program {
    /// Prints nothing and exits with 0 at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Prints to standard output.
    #[must_use]
    pub fn prints(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Print {
            stderr: false,
            bytes: bytes.into(),
        });
        self
    }

    /// Prints to standard error.
    #[must_use]
    pub fn complains(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Print {
            stderr: true,
            bytes: bytes.into(),
        });
        self
    }

    /// Takes its time.
    #[must_use]
    pub fn sleeps(mut self, duration: Duration) -> Self {
        self.steps.push(Step::Sleep(duration));
        self
    }

    /// Writes a file to `/outdir`.
    #[must_use]
    pub fn leaves(mut self, name: &str, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Leave {
            name: name.to_owned(),
            bytes: bytes.into(),
        });
        self
    }

    /// Ends with this code after its last step.
    #[must_use]
    pub fn exits(mut self, code: i32) -> Self {
        self.ending = Ending::Exit(code);
        self
    }

    /// Is killed at its memory limit after its last step.
    #[must_use]
    pub fn out_of_memory(mut self) -> Self {
        self.ending = Ending::OutOfMemory { late: false };
        self
    }

    /// Is killed at its memory limit, of which the engine hears only after the end.
    #[must_use]
    pub fn out_of_memory_noted_late(mut self) -> Self {
        self.ending = Ending::OutOfMemory { late: true };
        self
    }

    /// Does not end by itself.
    #[must_use]
    pub fn runs_on(mut self) -> Self {
        self.ending = Ending::Never;
        self
    }

    /// Takes no notice of the signal that asks it to end.
    #[must_use]
    pub fn ignores_stop(mut self) -> Self {
        self.on_stop = OnStop::Ignore;
        self
    }

    /// Ends with this code when it is asked to end.
    #[must_use]
    pub fn exits_when_stopped(mut self, code: i32) -> Self {
        self.on_stop = OnStop::Exit(code);
        self
    }

    /// Cannot be started: 127 as when it is not there, 126 as when it is not executable.
    #[must_use]
    pub fn unrunnable(mut self, exit_code: i32) -> Self {
        self.unrunnable = Some(exit_code);
        self
    }

    /// Cannot be started, because the engine refuses a parameter with this message.
    #[must_use]
    pub fn refused(mut self, message: &str) -> Self {
        self.refused = Some(message.to_owned());
        self
    }

    /// Uses this much while it runs.
    #[must_use]
    pub fn uses(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}

/// What a pretended build or load does. Without more it prints one step and succeeds at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    pub(super) lines: Vec<Bytes>,
    pub(super) takes: Duration,
    /// The step that fails, and how.
    pub(super) failure: Option<(String, String)>,
}

impl Build {
    /// Succeeds at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Prints a line; the newline is added.
    #[must_use]
    pub fn prints(mut self, line: &str) -> Self {
        self.lines.push(Bytes::from(format!("{line}\n")));
        self
    }

    /// Takes its time after its lines.
    #[must_use]
    pub fn takes(mut self, duration: Duration) -> Self {
        self.takes = duration;
        self
    }

    /// Fails at a step, such as `step 2/3: RUN make`, with what became of it, such as `exit code 2`.
    #[must_use]
    pub fn fails(mut self, step: &str, what: &str) -> Self {
        self.failure = Some((step.to_owned(), format!("{step}: {what}")));
        self
    }
}
