//! What a step changed and what is to be done about it: commit, then act, but for acts that need no commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::AttemptId;
use crate::wire::Report;

/// Collects over a batch of steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Attempts whose records must be written, or removed where the state no longer has them.
    pub attempts: BTreeSet<AttemptId>,
    /// Whether [`super::Meta`] must be written.
    pub meta: bool,
    /// Reports with their numbers, to be committed together with the records.
    pub reports: Vec<(u64, Report)>,
    /// What is done, in order; what [`Act::needs_commit`], after it.
    pub acts: Vec<Act>,
}

/// One thing to do. Each is safe to do again after a crash, but for [`Act::Start`], which is given once for each
/// container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Get the bundle onto this machine's disk.
    Fetch(AttemptId),
    /// Build, load or find the image.
    Build(AttemptId),
    /// Stop fetching or building; no answer is awaited.
    Abandon(AttemptId),
    /// Stop storing log and results: the [`Act::Finish`] under way answers at once.
    Cut(AttemptId),
    /// Create the container under the attempt's own name.
    Create {
        /// Which attempt.
        attempt: AttemptId,
        /// The image's id.
        image: Arc<str>,
    },
    /// Start the container.
    Start {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Look at the container and tell what is seen.
    Inspect {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Record its output, and tell when it ends.
    Watch {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Ask it to end.
    Terminate {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
        /// Whether it must be thawed to notice.
        thaw: bool,
    },
    /// End it.
    Kill {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Freeze it.
    Pause {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Thaw it.
    Unpause {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Find out whether the engine stopped around now, or the kernel killed it at its memory limit.
    Verify {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        container: Arc<str>,
    },
    /// Record the rest of its output, then store log and results; tell when both are stored.
    Finish {
        /// Which attempt.
        attempt: AttemptId,
        /// A container that must be gone before anything is told, since it never ran and never may.
        discard: Option<Arc<str>>,
    },
    /// Remove a container that is of no use to anybody.
    Remove {
        /// Which attempt it was made for.
        attempt: AttemptId,
        /// The container.
        container: Arc<str>,
    },
    /// Remove its container and its log from the machine.
    Clean {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container, where it has one.
        container: Option<Arc<str>>,
    },
}

impl Act {
    /// The attempt that it is done for.
    #[must_use]
    pub const fn attempt(&self) -> AttemptId {
        match self {
            Self::Fetch(attempt)
            | Self::Build(attempt)
            | Self::Abandon(attempt)
            | Self::Cut(attempt)
            | Self::Create { attempt, .. }
            | Self::Start { attempt, .. }
            | Self::Inspect { attempt, .. }
            | Self::Watch { attempt, .. }
            | Self::Terminate { attempt, .. }
            | Self::Kill { attempt, .. }
            | Self::Pause { attempt, .. }
            | Self::Unpause { attempt, .. }
            | Self::Verify { attempt, .. }
            | Self::Finish { attempt, .. }
            | Self::Remove { attempt, .. }
            | Self::Clean { attempt, .. } => *attempt,
        }
    }

    /// Whether it is done only after the commit of the step that gave it. The others need not wait for the disk: they
    /// change no container, and after a crash that undid the step they are given and done again.
    #[must_use]
    pub const fn needs_commit(&self) -> bool {
        match self {
            Self::Fetch(_)
            | Self::Build(_)
            | Self::Abandon(_)
            | Self::Cut(_)
            | Self::Inspect { .. }
            | Self::Watch { .. }
            | Self::Verify { .. }
            | Self::Finish { discard: None, .. } => false,
            Self::Create { .. }
            | Self::Start { .. }
            | Self::Terminate { .. }
            | Self::Kill { .. }
            | Self::Pause { .. }
            | Self::Unpause { .. }
            | Self::Finish {
                discard: Some(_), ..
            }
            | Self::Remove { .. }
            | Self::Clean { .. } => true,
        }
    }
}

impl Effects {
    /// Whether nothing is to be committed.
    #[must_use]
    pub fn nothing_to_commit(&self) -> bool {
        self.attempts.is_empty() && !self.meta && self.reports.is_empty()
    }
}
