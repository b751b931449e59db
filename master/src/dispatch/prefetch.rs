//! Tells workers which jobs they will probably run next, so that they make the images ready.
//!
//! Where waiting jobs start next is looked up on a copy of the committed state, beside the owner of the state. Nothing
//! depends on what is told: it goes as a live message, and again from time to time, because it may be lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::id::{AttemptId, JobId, WorkerId};
use dopq_common::sched::upcoming;
use dopq_common::wire::{
    Live, Packer, ToWorker, Upcoming, UpcomingRun, WIRE_VERSION, WorkerKey, WorkerKeys as _, topic,
};
use tokio::time::Instant;

use super::lane::Orders;
use crate::clock;
use crate::view::{Model, View};

/// Between two looks at most.
const EVERY: Duration = Duration::from_secs(2);
/// A look may take this part of the time.
const SHARE: u32 = 50;
/// Where nothing was committed, it is looked again after this time, because jobs become overdue.
const FRESH: Duration = Duration::from_secs(60);
/// A list that did not change is sent again after this time; workers forget it some minutes after the last.
const REPEAT: Duration = Duration::from_secs(20);

/// The next attempts of each worker, those that start first first.
type Lists = BTreeMap<WorkerId, Vec<AttemptId>>;

/// What workers were told last, and when.
#[derive(Debug, Default)]
struct Told(BTreeMap<WorkerId, (Vec<AttemptId>, Instant)>);

impl Told {
    /// What is to be sent now that `seen` is expected. A worker of which nothing is expected any more is told so once.
    fn update(&mut self, seen: &Lists, now: Instant) -> Vec<(WorkerId, Vec<AttemptId>)> {
        let mut due = Vec::new();
        self.0.retain(|worker, _| {
            let stays = seen.contains_key(worker);
            if !stays {
                due.push((worker.clone(), Vec::new()));
            }
            stays
        });
        for (worker, attempts) in seen {
            let known = self.0.get(worker);
            let is_known = known
                .is_some_and(|(last, at)| last == attempts && now.duration_since(*at) < REPEAT);
            if !is_known {
                self.0.insert(worker.clone(), (attempts.clone(), now));
                due.push((worker.clone(), attempts.clone()));
            }
        }
        due
    }

    /// The node of each job.
    fn nodes(&self) -> BTreeMap<JobId, WorkerId> {
        let lists = self.0.iter();
        lists
            .flat_map(|(worker, (attempts, _))| {
                attempts.iter().map(|attempt| (attempt.job, worker.clone()))
            })
            .collect()
    }
}

/// Tells them until the leadership ends.
pub(super) async fn run(orders: Arc<Orders>) {
    let (mut told, mut seen) = (Told::default(), Lists::new());
    let mut looked: Option<(u64, Instant)> = None;
    let (mut pause, mut number) = (EVERY, 0);
    loop {
        tokio::time::sleep(pause).await;
        let begun = Instant::now();
        let seq = orders.view.read(|model| model.seq);
        let is_fresh = |(of, at): (u64, Instant)| of == seq && begun.duration_since(at) < FRESH;
        if !looked.is_some_and(is_fresh) {
            match look(&orders.view, told.nodes()).await {
                Some(lists) => seen = lists,
                None => return,
            }
            looked = Some((seq, begun));
            pause = EVERY.max(begun.elapsed() * SHARE);
        }
        for (worker, attempts) in told.update(&seen, begun) {
            number += 1;
            tell(&orders, &worker, &attempts, number).await;
        }
    }
}

/// What each worker probably runs next; `None` if that failed.
async fn look(view: &View, before: BTreeMap<JobId, WorkerId>) -> Option<Lists> {
    let has_waiting = |model: &Model| model.state.jobs().any(|job| job.state.waiting() > 0);
    if !view.read(has_waiting) {
        return Some(Lists::new());
    }
    let view = view.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let state = view.read(|model| model.state.clone());
        let jobs = upcoming(state, clock::now(), &before);
        view.read(|model| {
            let next = |id: &JobId| model.state.job(*id)?.next_attempt();
            jobs.into_iter()
                .map(|(worker, jobs)| (worker, jobs.iter().filter_map(next).collect()))
                .collect()
        })
    });
    looking
        .await
        .inspect_err(|error| tracing::error!(%error, "failed to look ahead for images"))
        .ok()
}

async fn tell(orders: &Orders, worker: &WorkerId, attempts: &[AttemptId], number: u64) {
    let Some(key) = orders.keys.of(worker) else {
        return;
    };
    let filler = orders.filler();
    let runs: Vec<_> = orders.view.read(|model| {
        let attempts = attempts.iter();
        attempts
            .filter_map(|attempt| filler.expected(&model.state, worker, *attempt))
            .collect()
    });
    let upcoming = fitting(runs).map(|runs| Upcoming {
        version: WIRE_VERSION,
        epoch: orders.epoch,
        number,
        runs,
    });
    let message = match upcoming.and_then(|upcoming| message(&key, worker, &upcoming)) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(worker.id = %worker, %error, "failed to encode upcoming attempts");
            return;
        }
    };
    let topic = topic::requests(worker);
    if let Err(error) = orders.broker.publish_live(&topic, message.into()).await {
        let error = chain(&error);
        tracing::debug!(worker.id = %worker, error, "failed to send upcoming attempts");
    }
}

/// A sealed list as it is sent.
fn message(
    key: &WorkerKey,
    worker: &WorkerId,
    upcoming: &Upcoming,
) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(upcoming)?;
    let sealed = key.seal_to(ToWorker::Upcoming, worker, &body);
    let sealed = String::from_utf8_lossy(&sealed).into_owned();
    serde_json::to_vec(&Live::Upcoming { sealed })
}

/// Those that fit into one message. The others come once these have started.
fn fitting(runs: Vec<UpcomingRun>) -> Result<Vec<UpcomingRun>, serde_json::Error> {
    let (mut packer, mut kept) = (Packer::default(), Vec::new());
    for run in runs {
        let bytes = Packer::sealed(&serde_json::to_string(&run)?);
        if bytes <= Packer::MAX_BYTES && packer.take(bytes) {
            kept.push(run);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use dopq_common::id::JobKey;
    use dopq_common::wire::{ClusterKey, MESSAGE_MAX_BYTES, RunOrder};

    use super::*;

    fn attempt(job: u64) -> AttemptId {
        AttemptId {
            job: JobId(job),
            number: 1,
            key: JobKey([7; 16]),
        }
    }

    fn worker(name: &str) -> WorkerId {
        name.parse().expect("a name")
    }

    fn lists(lists: &[(&str, &[u64])]) -> Lists {
        let lists = lists.iter();
        lists
            .map(|(name, jobs)| (worker(name), jobs.iter().copied().map(attempt).collect()))
            .collect()
    }

    #[test]
    fn a_list_is_sent_when_it_changes_and_again_after_a_while() {
        let (mut told, now) = (Told::default(), Instant::now());
        let first = lists(&[("a", &[1, 2]), ("b", &[3])]);
        assert_eq!(told.update(&first, now).len(), 2);
        assert_eq!(told.update(&first, now), []);
        assert_eq!(told.nodes().get(&JobId(2)), Some(&worker("a")));
        let changed = lists(&[("a", &[2]), ("b", &[3])]);
        let due = told.update(&changed, now + REPEAT / 2);
        assert_eq!(due, [(worker("a"), vec![attempt(2)])]);
        let due = told.update(&changed, now + REPEAT);
        assert_eq!(due, [(worker("b"), vec![attempt(3)])]);
        let due = told.update(&Lists::new(), now + REPEAT);
        assert_eq!(due, [(worker("a"), vec![]), (worker("b"), vec![])]);
        assert_eq!(told.update(&Lists::new(), now + REPEAT * 9), []);
    }

    #[test]
    fn a_list_fits_into_a_message() {
        let run = |config: usize| UpcomingRun {
            attempt: attempt(1),
            run: RunOrder {
                cluster: "lab".to_owned(),
                user: "anna".parse().expect("a name"),
                group: None,
                config: r#"""#.repeat(config),
                bundle: None,
                allocation: dopq_common::resources::Allocation::default(),
                array_index: None,
                array_job: None,
                token: "token".into(),
                data_urls: Vec::new(),
                results_max_bytes: None,
                checkpoint_max_bytes: None,
            },
        };
        // Each quote takes four bytes.
        let kept = fitting(vec![run(20_000), run(10_000), run(5_000), run(10)]);
        let kept = kept.expect("encoded");
        let sizes: Vec<_> = kept.iter().map(|kept| kept.run.config.len()).collect();
        assert_eq!(sizes, [10_000, 5_000, 10], "one does not fit at all");
        let upcoming = Upcoming {
            version: WIRE_VERSION,
            epoch: dopq_common::id::Epoch(1),
            number: 1,
            runs: kept,
        };
        let key = ClusterKey::from_secret("s").worker(&worker("w"));
        let message = message(&key, &worker("w"), &upcoming).expect("JSON");
        assert!(message.len() <= MESSAGE_MAX_BYTES, "{}", message.len());
    }
}
