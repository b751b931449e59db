//! The agent's attempts, the stages they stand in, and what of that is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::id::{AttemptId, Epoch, GpuId};
use crate::job::{Cause, Outcome, Results};
use crate::telemetry::Measured;
use crate::time::{Timestamp, millis};
use crate::wire::{AttemptPhase, KnownAttempt};

use super::exit::Exit;
use super::run::Run;

/// No cluster has so many leaderships between two messages of one broker. An epoch that is further ahead is believed
/// only once a master confirms it: with it a single order would make every later leader an old one.
const EPOCH_JUMP_MAX: u64 = 1000;

/// How long the agent's patience is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a cut-off agent lets a `strict_once` job run on.
    pub lease: Duration,
    /// Between two looks at a container whose start is unclear.
    pub look_every: Duration,
    /// How long a start may stay unclear before its container is removed.
    pub unclear_for: Duration,
    /// Between two attempts to kill a container that does not end.
    pub kill_every: Duration,
    /// How long a forgotten attempt is remembered, so that a late order does not run it again.
    pub remember_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(480),
            look_every: Duration::from_secs(2),
            unclear_for: Duration::from_secs(60),
            kill_every: Duration::from_secs(10),
            remember_for: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The agent's memory. What is durable of it is [`Meta`] and each [`Attempt`].
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) meta: Meta,
    pub(super) boot: Arc<str>,
    pub(super) attempts: BTreeMap<AttemptId, Attempt>,
    /// Those of them that are not over. Attempts that are over stay for days, so there are many more.
    pub(super) open: BTreeSet<AttemptId>,
    pub(super) gate: Gate,
    /// Since when the broker is out of reach; `None` while it is not.
    pub(super) link_down_since: Option<Timestamp>,
}

/// The durable counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The highest leadership seen.
    pub epoch: Epoch,
    /// The number of the last report; 0 before the first.
    pub seq: u64,
    /// When the broker was last known to be in reach; kept up while a `strict_once` job runs.
    #[serde(rename = "linked_at_ms", default)]
    pub linked_at: Timestamp,
}

/// Why new attempts are refused, when they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    /// The disk is too full.
    pub disk_low: Option<String>,
    /// The GPUs that may be used; `None` until they were counted.
    pub gpus: Option<BTreeSet<GpuId>>,
}

/// One attempt on this machine. It is stored as it is, in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id.
    #[serde(rename = "attempt")]
    pub id: AttemptId,
    /// What to run; `None` for one that was only ever refused or stopped here.
    #[serde(
        rename = "order",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "readable"
    )]
    pub run: Option<Arc<Run>>,
    /// The machine's boot when its container was last known.
    pub boot: Arc<str>,
    /// How it was told to end, once it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopOrder>,
    /// Whether the storing of its log and results was cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Where it stands.
    pub stage: Stage,
}

/// An order that cannot be read any more is left out: its container can still be watched and its end reported.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Run>>, D::Error> {
    let order = Option::<Box<RawValue>>::deserialize(deserializer)?;
    let order = order.and_then(|order| serde_json::from_str(order.get()).ok());
    Ok(order.and_then(|order| Run::read(order).ok()).map(Arc::new))
}

/// That an attempt is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// How it is to be reported.
    pub outcome: Outcome,
    /// Between SIGTERM and SIGKILL.
    #[serde(rename = "grace_ms", with = "millis")]
    pub grace: Duration,
    /// Whether the masters have given it up, so that its end interests nobody.
    #[serde(default)]
    pub forget: bool,
    /// Whether a user asked again while it was ending. Not kept: it only tells what to do now.
    #[serde(skip)]
    pub insists: bool,
}

/// Where an attempt stands. A stop order in a stage before `Running` leads to `Uploading` as soon as
/// nothing can start any more; from `Exited` on it is too late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Stage {
    /// Its bundle is on the way. Leads to `Building`, or to `Uploading` when it cannot be had.
    Fetching,
    /// Its image is being built, loaded or found. Leads to `Creating`, or to `Uploading` when that fails.
    Building,
    /// Its container is being created under its own name. Leads to `Starting`; or to `Running` and the
    /// later ones when the name shows that it was started before.
    Creating {
        /// The image's id.
        image: Arc<str>,
    },
    /// Recorded before the one start is asked for. Nothing in this stage ever asks again: what became of
    /// the start is found out by looking. Leads to `Running`, `Exited` or `Uploading`, and back to `Creating` when the
    /// container could not start and was removed.
    Starting {
        /// Its container.
        container: Arc<str>,
        /// Since when.
        #[serde(rename = "since_ms")]
        since: Timestamp,
        /// When to look at the container, while the start is unclear. Not stored: the next process looks at once.
        #[serde(skip)]
        look_at: Option<Timestamp>,
    },
    /// Its container runs. Leads to `Paused`, `Stopping`, `Exited` or `Uploading`.
    Running {
        /// Its container.
        container: Arc<str>,
        /// Since when.
        #[serde(rename = "since_ms")]
        since: Timestamp,
    },
    /// Its container is frozen. Leads to `Running`, `Stopping`, `Exited` or `Uploading`.
    Paused {
        /// Its container.
        container: Arc<str>,
        /// When it was started.
        #[serde(rename = "since_ms")]
        since: Timestamp,
    },
    /// Its container was asked to end. Leads to `Uploading`, after being killed when it does not.
    Stopping {
        /// Its container.
        container: Arc<str>,
        /// When it was started.
        #[serde(rename = "since_ms")]
        since: Timestamp,
        /// When it is killed, and killed again.
        #[serde(rename = "kill_at_ms")]
        kill_at: Timestamp,
    },
    /// Its container ended in a way that the engine may have caused. Leads to `Uploading`.
    Exited {
        /// Its container.
        container: Arc<str>,
        /// How it ended.
        exit: Exit,
    },
    /// It is over; its log and results are being stored. Leads to `Reported`, at once when it is cancelled.
    Uploading {
        /// Its container, where it has one.
        container: Option<Arc<str>>,
        /// Whether that may still run, so that it is removed first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        discard: bool,
        /// How it ended.
        ended: Ended,
    },
    /// Its end is reported, and reported again when asked. `Forget` leads to `Forgotten`.
    Reported {
        /// Its container, where it has one.
        container: Option<Arc<str>>,
        /// How it ended.
        ended: Ended,
    },
    /// The masters have committed its end. Remembered so that a late order finds it over.
    Forgotten {
        /// How it ended.
        ended: Ended,
        /// Since when.
        #[serde(rename = "since_ms")]
        at: Timestamp,
    },
    /// It was refused, and will be however often it is ordered.
    Refused {
        /// Why.
        reason: String,
        /// Since when.
        #[serde(rename = "since_ms")]
        at: Timestamp,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Cause and facts.
    pub outcome: Outcome,
    /// How long its container ran, in milliseconds.
    pub ran_ms: u64,
    /// Length of its log stream, once stored.
    #[serde(default)]
    pub log_bytes: u64,
    /// What became of its results, if they were to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Results>,
    /// What it used, until the masters know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Box<Measured>>,
}

impl Ended {
    /// An end without log and results.
    #[must_use]
    pub const fn new(outcome: Outcome, ran_ms: u64) -> Self {
        Self {
            outcome,
            ran_ms,
            log_bytes: 0,
            results: None,
            measured: None,
        }
    }
}

impl Stage {
    /// The stage's name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Building => "building",
            Self::Creating { .. } => "creating",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Stopping { .. } => "stopping",
            Self::Exited { .. } => "exited",
            Self::Uploading { .. } => "uploading",
            Self::Reported { .. } => "reported",
            Self::Forgotten { .. } => "forgotten",
            Self::Refused { .. } => "refused",
        }
    }

    /// As the masters see it; `None` once the end has been reported.
    #[must_use]
    pub const fn phase(&self) -> Option<AttemptPhase> {
        match self {
            Self::Fetching | Self::Building | Self::Creating { .. } | Self::Starting { .. } => {
                Some(AttemptPhase::Building)
            }
            Self::Running { .. } => Some(AttemptPhase::Running),
            Self::Paused { .. } => Some(AttemptPhase::Paused),
            Self::Stopping { .. } | Self::Uploading { discard: true, .. } => {
                Some(AttemptPhase::Stopping)
            }
            Self::Exited { .. } | Self::Uploading { discard: false, .. } => {
                Some(AttemptPhase::Uploading)
            }
            Self::Reported { .. } | Self::Forgotten { .. } | Self::Refused { .. } => None,
        }
    }

    /// The container, in the stages that have one.
    #[must_use]
    pub const fn container(&self) -> Option<&Arc<str>> {
        match self {
            Self::Starting { container, .. }
            | Self::Running { container, .. }
            | Self::Paused { container, .. }
            | Self::Stopping { container, .. }
            | Self::Exited { container, .. } => Some(container),
            Self::Uploading { container, .. } | Self::Reported { container, .. } => {
                container.as_ref()
            }
            Self::Fetching
            | Self::Building
            | Self::Creating { .. }
            | Self::Forgotten { .. }
            | Self::Refused { .. } => None,
        }
    }

    /// Whether there is no container yet.
    #[must_use]
    pub const fn is_preparing(&self) -> bool {
        matches!(
            self,
            Self::Fetching | Self::Building | Self::Creating { .. }
        )
    }

    /// Whether its container runs or is frozen, and was not asked to end.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Paused { .. })
    }

    /// Whether its container may be running.
    #[must_use]
    pub const fn may_run(&self) -> bool {
        self.is_running() || matches!(self, Self::Starting { .. } | Self::Stopping { .. })
    }

    /// Whether a stop order is not too late.
    #[must_use]
    pub const fn can_stop(&self) -> bool {
        self.is_preparing() || self.may_run()
    }

    /// Whether the masters know that it is over, or that it was refused.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Forgotten { .. } | Self::Refused { .. })
    }

    /// Whether nothing is left to do on this machine.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.phase().is_none()
    }
}

impl StopOrder {
    /// Whether somebody wants it gone, rather than the cluster its place.
    #[must_use]
    pub const fn is_cancel(&self) -> bool {
        matches!(self.outcome.cause, Cause::Cancelled)
    }
}

impl Attempt {
    /// Whether it may run at most once even across a partition.
    #[must_use]
    pub fn strict_once(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.spec.strict_once)
    }
}

impl State {
    /// With what was found on disk. Follow with [`super::Event::Resumed`] before any other event.
    ///
    /// Reports are numbered from the clock's milliseconds on where no record tells the last number, so
    /// that they come after all that this machine reported under a record that is gone.
    #[must_use]
    pub fn new(
        settings: Settings,
        mut meta: Meta,
        attempts: impl IntoIterator<Item = Attempt>,
        now: Timestamp,
    ) -> Self {
        // Until the broker says that it is in reach, the time without it runs on from where it was
        // last known to be; a first start has no such time.
        let known = meta.linked_at > Timestamp::default();
        let down_since = if known { meta.linked_at.min(now) } else { now };
        if meta.seq == 0 {
            meta.seq = now.as_millis();
        }
        let attempts: BTreeMap<_, _> = attempts.into_iter().map(|a| (a.id, a)).collect();
        let open = attempts.values().filter(|a| !a.stage.is_over());
        Self {
            settings,
            meta,
            boot: Arc::from(""),
            open: open.map(|a| a.id).collect(),
            attempts,
            gate: Gate::default(),
            link_down_since: Some(down_since),
        }
    }

    /// The durable counters.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether an order of `epoch` is believed without asking the masters.
    #[must_use]
    pub const fn believes(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.meta.epoch.0.saturating_add(EPOCH_JUMP_MAX)
    }

    /// One attempt.
    #[must_use]
    pub fn attempt(&self, id: AttemptId) -> Option<&Attempt> {
        self.attempts.get(&id)
    }

    /// Every attempt, by id.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.values()
    }

    /// The attempts that are not over, by id.
    fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.open.iter().filter_map(|id| self.attempts.get(id))
    }

    /// Sets an attempt's stage.
    pub(super) fn set_stage(&mut self, id: AttemptId, stage: Stage) -> Option<&mut Attempt> {
        let attempt = self.attempts.get_mut(&id)?;
        if stage.is_over() {
            self.open.remove(&id);
        } else {
            self.open.insert(id);
        }
        attempt.stage = stage;
        Some(attempt)
    }

    /// Why new attempts are refused, when they are.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The attempts as a hello tells them: all that the masters have not yet been seen to forget.
    #[must_use]
    pub fn known(&self) -> Vec<KnownAttempt> {
        let told = self.attempts.values().filter(|a| !a.stage.is_closed());
        told.map(|a| KnownAttempt {
            attempt: a.id,
            phase: a.stage.phase(),
        })
        .collect()
    }

    /// When [`super::Event::Ticked`] is due at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let stages = self.open().filter_map(|a| match a.stage {
            Stage::Stopping { kill_at, .. } => Some(kill_at),
            Stage::Starting { look_at, .. } => look_at,
            _ => None,
        });
        let lease = self
            .link_down_since
            .filter(|_| self.has_strict())
            .map(|since| since.after(self.settings.lease));
        stages.chain(lease).min()
    }

    /// Whether a `strict_once` attempt may be running that was not told to end.
    pub(super) fn has_strict(&self) -> bool {
        self.open()
            .any(|a| a.strict_once() && a.stop.is_none() && a.stage.can_stop())
    }
}
