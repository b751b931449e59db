//! What may happen to the agent. Events are past tense; none can make it panic.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{AttemptId, Epoch, GpuId};
use crate::job::{Outcome, Results};
use crate::telemetry::Measured;
use crate::time::Timestamp;
use crate::wire::{Hello, Order};

use super::exit::Exit;
use super::run::Unreadable;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A master gave an order.
    Ordered {
        /// The leadership that gave it.
        epoch: Epoch,
        /// About which attempt.
        attempt: AttemptId,
        /// What to do. An order to run that cannot be read is refused.
        order: Result<Order, Unreadable>,
    },
    /// The attempt's bundle lies on this machine's disk, proven by its digest.
    Fetched(AttemptId),
    /// The attempt's image is there.
    ImageReady {
        /// Which attempt.
        attempt: AttemptId,
        /// The image's id.
        image: Arc<str>,
    },
    /// What the attempt needs is not there yet, and is tried for again.
    PreparationDelayed {
        /// Which attempt.
        attempt: AttemptId,
        /// Why, for its user.
        note: String,
    },
    /// Fetching, building or creating failed for good.
    PreparationFailed {
        /// Which attempt.
        attempt: AttemptId,
        /// How it is to be reported.
        outcome: Outcome,
    },
    /// The attempt's container exists.
    ContainerCreated {
        /// Which attempt.
        attempt: AttemptId,
        /// Its container.
        created: Created,
    },
    /// The engine confirmed the start.
    ContainerStarted {
        /// Which attempt.
        attempt: AttemptId,
        /// When, by the engine.
        at: Timestamp,
        /// What the job's user should know of it.
        note: String,
    },
    /// The start did not succeed, or nobody knows.
    StartFailed {
        /// Which attempt.
        attempt: AttemptId,
        /// What is known.
        fault: StartFault,
    },
    /// The attempt's container was looked at, or ended.
    Inspected {
        /// Which attempt.
        attempt: AttemptId,
        /// `None` when it is not there.
        status: Option<Status>,
    },
    /// It is known why a container ended by a signal that its exit does not explain.
    Verified {
        /// Which attempt.
        attempt: AttemptId,
        /// Whether the engine was away around that time.
        engine_stopped: bool,
        /// Whether the kernel killed it at its memory limit, which an exit does not tell when the engine
        /// heard of it only afterwards.
        oom_killed: bool,
    },
    /// The container was frozen.
    ContainerPaused(AttemptId),
    /// The container was thawed.
    ContainerUnpaused(AttemptId),
    /// The attempt uses more than it may of what the machine keeps for its user.
    QuotaExceeded {
        /// Which attempt.
        attempt: AttemptId,
        /// How it is to be reported.
        outcome: Outcome,
    },
    /// The attempt's log and results are stored.
    Uploaded {
        /// Which attempt.
        attempt: AttemptId,
        /// What became of them.
        stored: Stored,
    },
    /// The task that worked on one act panicked or cannot do it, so that no other answer comes.
    TaskFailed {
        /// For which attempt it worked.
        attempt: AttemptId,
        /// Why.
        detail: String,
        /// Length of the attempt's log that is stored.
        log_bytes: u64,
    },
    /// The agent began anew with the records it found; this is what the engine shows.
    Resumed {
        /// The machine's boot.
        boot: Arc<str>,
        /// Every container of this agent.
        containers: Vec<Seen>,
    },
    /// The engine was asked what it has.
    Listed {
        /// Every container of this agent.
        containers: Vec<Seen>,
    },
    /// The GPUs were counted; this is the set of those that jobs may be given.
    GpusFound(BTreeSet<GpuId>),
    /// The disk is too full for new attempts, or has room again.
    DiskFound {
        /// Why no new attempt is taken.
        low: Option<String>,
    },
    /// The link to the broker went down or came up.
    LinkChanged {
        /// Whether it is up.
        up: bool,
    },
    /// A master told which leadership it knows of.
    EpochTold(Epoch),
    /// The agent is to introduce itself; its attempts are filled in here.
    HelloDue(Box<Hello>),
    /// The agent goes away on purpose.
    Leaving,
    /// Time passed.
    Ticked,
}

/// What an attempt left behind, once it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Length of the log stream.
    pub log_bytes: u64,
    /// The last line in which the program said that a GPU's memory ran out.
    pub gpu_memory: Option<String>,
    /// Why output is missing in the log, where its disk failed.
    pub log_cut: Option<String>,
    /// What became of the results, if they were to be published.
    pub results: Option<Results>,
    /// Why the checkpoint could not be stored, if it was to be.
    pub checkpoint_lost: Option<String>,
    /// What it used, if it ran long enough for that to be known.
    pub measured: Option<Box<Measured>>,
}

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The engine's id of it.
    pub container: Arc<str>,
    /// Present when the name was taken, by a container of this very attempt: how that one stands.
    pub found: Option<Status>,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Never started.
    Created,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It is frozen.
    Paused {
        /// When it was started.
        since: Timestamp,
    },
    /// It ended.
    Exited(Exit),
}

/// One of this agent's containers, as the engine shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is, by its labels.
    pub attempt: AttemptId,
    /// The engine's id of it.
    pub container: Arc<str>,
    /// How it stands.
    pub status: Status,
}

/// What is known of a start that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFault {
    /// The engine said no; the container did not start and will not. This is how it is reported.
    Refused(Outcome),
    /// No answer, or a broken one: it may have started, or may yet.
    Unclear,
    /// The container could not start and was removed, for a reason that another one of the same image will not meet.
    Removed {
        /// The image's id.
        image: Arc<str>,
    },
}

/// An event that changes nothing, and why. The shell logs it at debug, counts it and acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A former leader gave the order.
    #[error("the order has epoch {given}, but epoch {highest} is known")]
    OldEpoch {
        /// The order's.
        given: Epoch,
        /// The highest seen.
        highest: Epoch,
    },
    /// The order's epoch is so far ahead that a master must confirm it first.
    #[error("the order has epoch {given}, far above {highest}, and no master confirms it")]
    EpochJump {
        /// The order's.
        given: Epoch,
        /// The highest seen.
        highest: Epoch,
    },
    /// No such attempt here.
    #[error("unknown attempt {0}")]
    Unknown(AttemptId),
    /// The attempt's stage has passed this, or never awaited it.
    #[error("attempt {attempt} is {stage} and does not expect this")]
    Stale {
        /// Which.
        attempt: AttemptId,
        /// The name of its stage.
        stage: &'static str,
    },
    /// Nothing new is in it.
    #[error("attempt {0} has seen this before")]
    Repeated(AttemptId),
}
