//! Why a job waits, by the predicates that place it.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Dependency, DependencyKind, Job, JobState, Phase};
use crate::sched::events::submit::never_fits;
use crate::sched::fit::eligible::is_locked;
use crate::sched::fit::fits::fit;
use crate::sched::fit::guard::{Limit, guarded};
use crate::sched::model::entities::QueueLock;
use crate::sched::model::reservation::Blocked;
use crate::sched::place::blocker::blocker;
use crate::sched::state::core::{DependencyStatus, State};
use crate::time::Timestamp;

/// One reason why a job waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Somebody holds it back.
    Held {
        /// Who.
        by: UserName,
    },
    /// It waits for another job's end.
    Dependency {
        /// Which.
        job: JobId,
        /// How it must end.
        kind: DependencyKind,
        /// Where that one stands, when it is known.
        phase: Option<Phase>,
    },
    /// It failed and is tried again later.
    Backoff {
        /// When.
        until: Timestamp,
    },
    /// As many tasks of the array as may are under way.
    ArrayLimit {
        /// How many may.
        max: u32,
    },
    /// Nothing new is placed.
    Locked(QueueLock),
    /// The master cannot reach the broker, so no order would arrive.
    BrokerDown,
    /// Its user runs as many jobs as they may.
    RunningLimit {
        /// How many they may.
        max: u32,
    },
    /// Its user would hold more GPUs than they may.
    GpuLimit {
        /// Thousandths of GPUs that they may.
        max: u32,
    },
    /// The members of its user's group run as many jobs as they may together.
    GroupRunningLimit {
        /// Which.
        group: GroupName,
        /// How many they may.
        max: u32,
    },
    /// The members of its user's group would together hold more GPUs than they may.
    GroupGpuLimit {
        /// Which.
        group: GroupName,
        /// Thousandths of GPUs that they may.
        max: u32,
    },
    /// No machine has joined yet.
    NoMachine,
    /// No machine that is there could ever run it.
    NeverFits(String),
    /// Machines could run it but not now: how many, by what stands in the way.
    NoRoom(Vec<(String, usize)>),
    /// A place is kept for it.
    Reserved {
        /// When it is free at the latest, if jobs take no longer than was said; `None` where that is not known.
        at: Option<Timestamp>,
        /// On which machine.
        worker: WorkerId,
    },
    /// The whole queue waits for a job before it.
    Behind {
        /// Which.
        job: JobId,
    },
    /// Nothing stands in its way: the next pass places it.
    Next,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { by } => write!(f, "held back by {by}"),
            Self::Dependency { job, kind, phase } => {
                let how = match kind {
                    DependencyKind::Ok => "succeed",
                    DependencyKind::Any => "end",
                };
                let phase = phase.map_or("not known", Phase::as_str);
                write!(f, "job {job} must {how} first and is {phase}")
            }
            Self::Backoff { until } => write!(f, "its last attempt failed; tried again at {until}"),
            Self::ArrayLimit { max: 1 } => {
                f.write_str("only one of its tasks may be under way at once, and one is")
            }
            Self::ArrayLimit { max } => {
                write!(
                    f,
                    "{max} of its tasks are under way, and no more may be at once"
                )
            }
            Self::Locked(lock) => {
                let QueueLock { by, reason, until } = lock;
                write!(f, "the queue is locked by {by} until {until}: {reason}")
            }
            Self::BrokerDown => f.write_str("the master cannot reach its workers"),
            Self::RunningLimit { max } => write!(f, "its user may run {max} jobs at once"),
            Self::GpuLimit { max } => {
                write!(
                    f,
                    "its user may hold {} GPUs at once",
                    f64::from(*max) / 1000.0
                )
            }
            Self::GroupRunningLimit { group, max } => {
                write!(f, "its group {group} may run {max} jobs at once")
            }
            Self::GroupGpuLimit { group, max } => {
                let max = f64::from(*max) / 1000.0;
                write!(f, "its group {group} may hold {max} GPUs at once")
            }
            Self::NoMachine => f.write_str("no machine has joined yet"),
            Self::NeverFits(text) => f.write_str(text),
            Self::NoRoom(blockers) => {
                f.write_str("waits for a machine; of those that are there, ")?;
                for (at, (blocker, count)) in blockers.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    let are = if *count == 1 { "is" } else { "are" };
                    let are = if blocker.starts_with("could") {
                        ""
                    } else {
                        are
                    };
                    let space = if are.is_empty() { "" } else { " " };
                    write!(f, "{comma}{count} {are}{space}{blocker}")?;
                }
                Ok(())
            }
            Self::Reserved {
                at: Some(at),
                worker,
            } => write!(f, "{worker} is kept for it from {at} at the latest"),
            Self::Reserved { at: None, worker } => write!(
                f,
                "{worker} is kept for it; how long what runs there takes is not known"
            ),
            Self::Behind { job } => write!(f, "the queue waits for job {job}"),
            Self::Next => f.write_str("starts next"),
        }
    }
}

/// Every reason why the job waits, without its position, which is dearer to find. Empty when it does
/// not wait.
#[must_use]
pub fn reasons(state: &State, now: Timestamp, job: &Job) -> Vec<Reason> {
    let (hold, not_before, array) = match &job.state {
        JobState::Queued(queued) => (&queued.hold, queued.not_before, None),
        JobState::Array(array) if !array.waiting.is_empty() => (&array.hold, None, Some(array)),
        JobState::Array(_)
        | JobState::Assigned(_)
        | JobState::Building(_)
        | JobState::Running(_)
        | JobState::Paused(_)
        | JobState::Stopping(..)
        | JobState::Finished(_) => return Vec::new(),
    };
    let mut reasons = Vec::new();
    reasons.extend(hold.iter().map(|hold| Reason::Held {
        by: hold.by.clone(),
    }));
    reasons.extend(
        job.waits_after()
            .iter()
            .filter_map(|after| open(state, *after)),
    );
    reasons.extend(not_before.map(|until| Reason::Backoff { until }));
    let most = job.spec.array.as_ref().and_then(|spec| spec.max_running);
    let most = most.filter(|max| array.is_some_and(|array| array.open >= *max));
    reasons.extend(most.map(|max| Reason::ArrayLimit { max }));
    if is_locked(state, now) {
        reasons.extend(state.meta().lock.clone().map(Reason::Locked));
    }
    if !state.watch().is_link_up() {
        reasons.push(Reason::BrokerDown);
    }
    reasons.extend(limits(state, job));
    reasons.extend(no_machine(state, now, job));
    match state.blocked() {
        Some(Blocked::Reserved(kept)) if kept.job == job.id => reasons.push(Reason::Reserved {
            at: (kept.is_firm && now < kept.at).then_some(kept.at),
            worker: kept.worker.clone(),
        }),
        Some(Blocked::Awaited(head)) if *head != job.id => {
            reasons.push(Reason::Behind { job: *head });
        }
        Some(_) | None => {}
    }
    if reasons.is_empty() {
        reasons.push(Reason::Next);
    }
    reasons
}

fn open(state: &State, after: Dependency) -> Option<Reason> {
    match state.dependency_status(after) {
        DependencyStatus::Satisfied => None,
        DependencyStatus::Pending | DependencyStatus::Impossible => Some(Reason::Dependency {
            job: after.job,
            kind: after.kind,
            phase: state.job(after.job).map(|job| job.state.phase()),
        }),
    }
}

/// The limits that keep the job back, with what it would be given where it fits now.
fn limits(state: &State, job: &Job) -> impl Iterator<Item = Reason> {
    let mut nodes = state.index().nodes().values();
    let allocation = nodes.find_map(|node| fit(node, &job.spec.request).ok());
    let more = allocation.map_or(0, |allocation| allocation.milli_gpus());
    let guarded = guarded(state, &job.user, more).into_iter();
    guarded.map(|guarded| match (guarded.group, guarded.limit) {
        (None, Limit::Running { max }) => Reason::RunningLimit { max },
        (None, Limit::Gpus { max }) => Reason::GpuLimit { max },
        (Some(group), Limit::Running { max }) => Reason::GroupRunningLimit { group, max },
        (Some(group), Limit::Gpus { max }) => Reason::GroupGpuLimit { group, max },
    })
}

fn no_machine(state: &State, now: Timestamp, job: &Job) -> Option<Reason> {
    if state.workers().next().is_none() {
        return Some(Reason::NoMachine);
    }
    if let Some(text) = never_fits(state, &job.spec.request) {
        return Some(Reason::NeverFits(text));
    }
    let mut counts = BTreeMap::new();
    for node in state.index().nodes().values() {
        *counts.entry(blocker(state, now, node, job)?).or_insert(0) += 1;
    }
    // The machines that could never run it say the least, and come last.
    let counts = counts.into_iter().rev();
    let told = counts.map(|(blocker, count)| (blocker.to_string(), count));
    Some(Reason::NoRoom(told.collect()))
}
