//! The order is one order: total, the same for the same state however it came to be, and what explains says of
//! it is what the next step does.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::explained::{Draws, feed, random_cluster};
use super::*;
use crate::sched::rank::value::Value;

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
    let users = state.users().cloned().map(Box::new).map(Change::User);
    let groups = state.groups().cloned().map(Box::new).map(Change::Group);
    let workers = state.workers().cloned().map(Change::Worker);
    let meta = Change::Meta(Box::new(state.meta().clone()));
    let parts = jobs.chain(users).chain(groups).chain(workers);
    parts.chain([meta]).collect()
}

fn listed(state: &State, now: Timestamp) -> Vec<(JobId, u64, f64)> {
    let queue = queue(state, now).into_iter();
    queue
        .map(|waiting| (waiting.job.id, waiting.position, waiting.penalty))
        .collect()
}

/// A slowdown, (wait + expected) / expected; the largest goes first.
fn slowdown(state: &State, now: Timestamp, job: &crate::job::Job) -> Reverse<Value> {
    let expected = expected(state, job).map(|expected| expected.longest);
    let expected = expected.unwrap_or_else(|| state.settings().assumed_runtime);
    let expected = expected.as_secs_f64().max(1.0);
    let waited = now.since(job.submitted_at).as_secs_f64();
    Reverse(Value((waited + expected) / expected))
}

/// Where a job stands among those of its user.
fn own_place(state: &State, now: Timestamp, job: &crate::job::Job) -> impl Ord + use<> {
    let class = job.spec.class;
    let slowdown = slowdown(state, now, job);
    (
        class,
        Reverse(job.priority),
        slowdown,
        job.submitted_at,
        job.id,
    )
}

/// Whether nothing is guaranteed to the user, which may let a smaller job of theirs go before its turn.
fn has_no_floor(state: &State, of: &UserName) -> bool {
    let user = state.user(of).unwrap();
    let group = user.group.as_ref().and_then(|group| state.group(group));
    user.guards.floor.is_none() && group.is_none_or(|group| group.guards.floor.is_none())
}

/// Whether the first of two turns comes before the other, by what of them ranks.
fn before(state: &State, now: Timestamp, a: &Turn, b: &Turn, value: impl Fn(&Turn) -> f64) -> bool {
    let goes_first = |turn: &Turn| (turn.job.spec.class, !turn.is_within_floor);
    let came = |turn: &Turn| {
        let slowdown = slowdown(state, now, &turn.job);
        (slowdown, turn.job.submitted_at, turn.job.next_id())
    };
    let by_value = value(a).total_cmp(&value(b));
    let order = goes_first(a).cmp(&goes_first(b));
    order.then(by_value).then(came(a).cmp(&came(b))).is_lt()
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
                let in_order = own.all(|own| own_place(&state, now, first) < own_place(&state, now, own));
                prop_assert!(in_order || !has_no_floor(&state, &first.user));
            }
        }
    }

    #[test]
    fn what_users_are_told_of_their_turn_is_what_orders_the_queue(seed: u64) {
        let (state, now, _) = cluster(seed);
        let listed: Vec<_> = queue(&state, now).into_iter().map(|waiting| waiting.job).collect();
        let turns = Turns::new(&state, now);
        let turns: Vec<_> = state.users().filter_map(|user| Some((user, turns.of(&user.name)?))).collect();
        let mut tops: BTreeMap<Result<GroupName, UserName>, _> = BTreeMap::new();
        for (user, turn) in &turns {
            prop_assert!(state.is_ready(&turn.job) && turn.job.user == user.name);
            prop_assert!((turn.penalty - penalty_of(&state, now, &user.name)).abs() < 1e-12);
            let group = user.group.as_ref().map(|group| group_account_of(&state, now, group).penalty);
            prop_assert_eq!(turn.group_penalty.is_some(), group.is_some());
            let (told, group) = (turn.group_penalty.unwrap_or_default(), group.unwrap_or_default());
            prop_assert!((told - group).abs() < 1e-12);
            let first_of_own = listed.iter().find(|job| job.user == user.name);
            prop_assert!(user.group.is_some() || first_of_own.map(|job| job.id) == Some(turn.job.id));
            let whose = user.group.clone().ok_or_else(|| user.name.clone());
            let top = tops.entry(whose).or_insert(turn);
            if before(&state, now, turn, top, Turn::rank_value) {
                *top = turn;
            }
        }
        let at_top = |turn: &Turn| turn.group_rank_value().unwrap_or_else(|| turn.rank_value());
        let first = tops.into_values().reduce(|a, b| if before(&state, now, b, a, at_top) { b } else { a });
        let first = first.map(|turn| turn.job.id);
        let ready = listed.first().filter(|job| state.is_ready(job));
        prop_assert_eq!(first, ready.map(|job| job.id), "of groups and users without one the first");
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
                        JobState::Finished(Box::new(crate::job::Finished {
                            outcome: Outcome::new(Cause::Succeeded, ""),
                            at: now,
                            last: other.active().cloned(),
                            ran: Duration::ZERO,
                            log_bytes: None,
                            results: None,
                            tasks: None,
                        }))
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
                Reason::NoRoom(blockers) => blockers.iter().any(|(text, _)| text.contains("reserved")),
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
