//! The order is one order: total, the same for the same state however it came to be, and what explains says of
//! it is what the next step does.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::explained::{Draws, feed, random_cluster};
use super::*;

/// A cluster with jobs that have run for a while, so that its users have had something.
fn cluster(seed: u64) -> (State, Timestamp, Draws) {
    let mut draws = Draws(seed);
    let (mut state, start) = random_cluster(&mut draws);
    let now = start.after(Duration::from_secs(draws.below(200_000)));
    let waiting = queue(&state, start)
        .into_iter()
        .map(|waiting| waiting.job.id);
    for job in waiting.collect::<Vec<_>>() {
        let priority = i32::try_from(draws.below(3)).unwrap();
        feed(
            &mut state,
            start,
            Event::PriorityRequested { job, priority },
        );
    }
    (state, now, draws)
}

fn changes(state: &State) -> Vec<Change> {
    let jobs = state.jobs().cloned().map(Change::Job);
    let users = state.users().cloned().map(Change::User);
    let groups = state.groups().cloned().map(Change::Group);
    let workers = state.workers().cloned().map(Change::Worker);
    let meta = Change::Meta(state.meta().clone());
    let parts = jobs.chain(users).chain(groups).chain(workers);
    parts.chain([meta]).collect()
}

fn listed(state: &State, now: Timestamp) -> Vec<(JobId, u64, f64)> {
    let queue = queue(state, now).into_iter();
    queue
        .map(|waiting| (waiting.job.id, waiting.position, waiting.penalty))
        .collect()
}

/// Where a job stands among those of its user.
fn own_place(job: &crate::job::Job) -> impl Ord + use<> {
    let class = job.spec.class;
    (class, Reverse(job.priority), job.submitted_at, job.id)
}

/// Whether nothing is guaranteed to the user, which may let a smaller job of theirs go before its turn.
fn has_no_floor(state: &State, of: &UserName) -> bool {
    let user = state.user(of).unwrap();
    let group = user.group.as_ref().and_then(|group| state.group(group));
    user.guards.floor.is_none() && group.is_none_or(|group| group.guards.floor.is_none())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_queue_is_total_and_the_same_for_the_same_state(seed: u64) {
        let (state, now, mut draws) = cluster(seed);
        let order = listed(&state, now);
        let mut ids: Vec<JobId> = order.iter().map(|(id, ..)| *id).collect();
        let mut again = State::new(state.settings().clone());
        let mut changes = changes(&state);
        while !changes.is_empty() {
            let at = draws.below(changes.len() as u64);
            again.apply(changes.swap_remove(usize::try_from(at).unwrap()));
        }
        prop_assert_eq!(&listed(&again, now), &order, "however it came to be");

        let positions: Vec<u64> = order.iter().map(|(_, position, _)| *position).collect();
        prop_assert!(positions.iter().copied().eq(1..=order.len() as u64));
        ids.sort_unstable();
        let waiting = state.jobs().filter(|job| job.state.waiting() > 0);
        prop_assert!(ids.iter().copied().eq(waiting.map(|job| job.id)), "all, each once");
        prop_assert!(order.iter().all(|(.., penalty)| penalty.is_finite() && *penalty >= 0.0));
    }

    #[test]
    fn class_goes_first_and_ones_own_jobs_keep_their_order(seed: u64) {
        let (state, now, _) = cluster(seed);
        let jobs: Vec<_> = queue(&state, now).into_iter().map(|waiting| waiting.job).collect();
        let held = jobs.iter().position(|job| !state.is_ready(job));
        let (ready, parked) = jobs.split_at(held.unwrap_or(jobs.len()));
        prop_assert!(parked.iter().all(|job| !state.is_ready(job)), "what may start comes first");
        for part in [ready, parked] {
            for (at, first) in part.iter().enumerate() {
                let behind = part.get(at + 1..).unwrap_or_default();
                prop_assert!(behind.iter().all(|job| first.spec.class <= job.spec.class));
                let mut own = behind.iter().filter(|other| other.user == first.user);
                let in_order = own.all(|own| own_place(first) < own_place(own));
                prop_assert!(in_order || !has_no_floor(&state, &first.user));
            }
        }
    }

    #[test]
    fn what_starts_next_is_what_the_next_step_starts(seed: u64) {
        let (mut state, now, mut draws) = cluster(seed);
        // Jobs end and others are let go, as a reader learns it, while nobody has decided yet.
        for job in state.jobs().cloned().collect::<Vec<_>>() {
            if draws.below(3) == 0 {
                let changed = match &job.state {
                    JobState::Queued(queued) => JobState::Queued(crate::job::Queued {
                        hold: None,
                        ..queued.clone()
                    }),
                    other if other.active().is_some() => {
                        JobState::Finished(crate::job::Finished {
                            outcome: Outcome::new(Cause::Succeeded, ""),
                            at: now,
                            last: other.active().cloned(),
                            ran: Duration::ZERO,
                            log_bytes: None,
                            tasks: None,
                        })
                    }
                    other => other.clone(),
                };
                let job = crate::job::Job { state: changed, ..(*job).clone() };
                state.apply(Change::Job(job.into()));
            }
        }
        let told: BTreeMap<JobId, Vec<Reason>> = queue(&state, now)
            .iter()
            .map(|waiting| (waiting.job.id, reasons(&state, now, waiting.job)))
            .collect();
        let is_next = |id: &JobId| told[id] == [Reason::Next];
        let first = queue(&state, now).iter().map(|waiting| waiting.job.id).find(is_next);
        let keeps = matches!(state.settings().backfill, Backfill::Easy);
        feed(&mut state, now, Event::Ticked);
        let starts = |id: &JobId| state.job(*id).unwrap().state.phase() == Phase::Assigned;
        for id in told.keys().filter(|id| starts(id)) {
            // Where a place was kept, it may have been taken, and what it was kept from may have gone on.
            let kept = |reason: &Reason| match reason {
                Reason::Reserved { .. } => true,
                Reason::NoRoom(blockers) => blockers.iter().any(|(text, _)| text.contains("kept")),
                _ => false,
            };
            let was_kept = keeps && told[id].iter().all(kept);
            prop_assert!(is_next(id) || was_kept, "{id} started, but {:?}", told[id]);
        }
        // Which of them, the list cannot know: whose turn it is depends on what the first job asks for that fits.
        if !keeps && first.is_some() {
            let mut next = told.keys().filter(|id| is_next(id));
            prop_assert!(next.any(starts), "none started that was said to be next");
        }
        for waiting in queue(&state, now) {
            let reasons = reasons(&state, now, waiting.job);
            prop_assert!(!reasons.contains(&Reason::Next), "{} was passed over", waiting.job.id);
        }
    }
}
