//! Why a job waits, by the predicates that place it.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::{GroupName, JobId, UserName, WorkerId};
use crate::job::{Dependency, DependencyKind, Job, JobState, Phase};
use crate::sched::events::submit::never_fits;
use crate::sched::fit::eligible::is_locked;
use crate::sched::fit::fits::{allowed_gpus, fit};
use crate::sched::fit::guard::{Limit, guarded};
use crate::sched::model::entities::QueueLock;
use crate::sched::model::reservation::Blocked;
use crate::sched::place::blocker::blocker;
use crate::sched::state::core::{DependencyStatus, State};
use crate::time::Timestamp;

/// The most GPUs that are named.
const TAKEN_MAX: usize = 4;

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
    /// The master ends once nothing runs, and starts nothing.
    Closing {
        /// Who asked for it.
        by: UserName,
    },
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
    /// GPUs that could be given to it are used by something else: which, and by what.
    GpusTaken(Vec<String>),
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
        let gpus = |milli: &u32| f64::from(*milli) / 1000.0;
        match self {
            Self::Held { by } => write!(f, "held by {by}"),
            Self::Dependency { job, kind, phase } => {
                let how = match kind {
                    DependencyKind::Ok => "succeed",
                    DependencyKind::Any => "end",
                };
                let phase = phase.map_or("unknown", Phase::as_str);
                write!(f, "waits for job {job} to {how} ({phase})")
            }
            Self::Backoff { until } => {
                write!(f, "the last attempt failed; the next starts at {until}")
            }
            Self::ArrayLimit { max: 1 } => f.write_str("1 task runs, the limit of this array"),
            Self::ArrayLimit { max } => write!(f, "{max} tasks run, the limit of this array"),
            Self::Locked(lock) => {
                let QueueLock { by, reason, until } = lock;
                write!(f, "the queue is locked by {by} until {until}: {reason}")
            }
            Self::Closing { by } => write!(
                f,
                "the master starts nothing because {by} is shutting it down"
            ),
            Self::BrokerDown => f.write_str("the master cannot reach its workers"),
            Self::RunningLimit { max } => {
                write!(f, "the user's limit of running jobs is reached ({max})")
            }
            Self::GpuLimit { max } => {
                write!(f, "the user's limit of GPUs is reached ({})", gpus(max))
            }
            Self::GroupRunningLimit { group, max } => {
                write!(
                    f,
                    "the limit of running jobs of group {group} is reached ({max})"
                )
            }
            Self::GroupGpuLimit { group, max } => {
                let max = gpus(max);
                write!(f, "the limit of GPUs of group {group} is reached ({max})")
            }
            Self::NoMachine => f.write_str("no node has joined yet"),
            Self::NeverFits(text) => f.write_str(text),
            Self::NoRoom(blockers) => {
                let counted = blockers.iter();
                let counted = counted.map(|(blocker, count)| format!("{count} {blocker}"));
                let counted: Vec<String> = counted.collect();
                write!(f, "no node has room now: {}", counted.join(", "))
            }
            Self::GpusTaken(which) => f.write_str(&which.join("; ")),
            Self::Reserved {
                at: Some(at),
                worker,
            } => write!(
                f,
                "node {worker} is reserved for it from {at} at the latest"
            ),
            Self::Reserved { at: None, worker } => write!(
                f,
                "node {worker} is reserved for it; how long the jobs there run is unknown"
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
        JobState::Array(_) | JobState::Active(..) | JobState::Finished(_) => return Vec::new(),
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
    reasons.extend(state.closing().map(|by| Reason::Closing { by: by.clone() }));
    if !state.watch().is_link_up() {
        reasons.push(Reason::BrokerDown);
    }
    reasons.extend(limits(state, job));
    let no_machine = no_machine(state, now, job);
    let has_no_room = matches!(no_machine, Some(Reason::NoRoom(_)));
    reasons.extend(no_machine);
    if has_no_room {
        reasons.extend(taken(state, job));
    }
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

/// The GPUs that the job could be given but for what uses them, the first few of many.
fn taken(state: &State, job: &Job) -> Option<Reason> {
    let mut which = Vec::new();
    for worker in state.workers().filter(|worker| worker.takes_jobs()) {
        for (index, gpu) in allowed_gpus(&worker.capacity, &job.spec.request) {
            if let Some(taken) = worker.taken.get(&gpu.id) {
                let (id, by) = (&worker.id, taken.by.as_str());
                let detail = &taken.detail;
                which.push(format!("GPU {index} of {id} is {by}: {detail}"));
            }
        }
    }
    if job.spec.request.gpus == 0 || which.is_empty() {
        return None;
    }
    let more = which.len().saturating_sub(TAKEN_MAX);
    which.truncate(TAKEN_MAX);
    if more > 0 {
        which.push(format!("{more} more GPUs are foreign or dirty"));
    }
    Some(Reason::GpusTaken(which))
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
