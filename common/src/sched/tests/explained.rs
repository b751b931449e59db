//! What a user is told about a waiting job is true: every remedy is applied, and the job starts.

use super::shares::USERS;
use super::*;
use crate::sched::answers::remedy::Remedy;

/// Draws that are the same in every run.
pub(super) struct Draws(pub(super) u64);

impl Draws {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

pub(super) fn feed(state: &mut State, now: Timestamp, event: Event) {
    // Requests that could never fit are refused, which is as good.
    drop(decide(state, now, event, &mut Effects::default()));
}

/// A cluster of a few machines of several kinds, filled with jobs of several kinds.
pub(super) fn random_cluster(draws: &mut Draws) -> (State, Timestamp) {
    let now = Timestamp::from_millis(5_000_000);
    let backfill = [Backfill::Easy, Backfill::BestEffort];
    let mut state = State::new(Settings {
        backfill: backfill[usize::try_from(draws.below(2)).unwrap()],
        ..Settings::default()
    });
    for number in 0..=draws.below(4) {
        let name = format!("w{number}");
        let mut capacity = capacity(&name, u32::try_from(draws.below(5)).unwrap());
        capacity.memory = ByteSize((8 << draws.below(4)) * ByteSize::GIB);
        capacity.cpu = MilliCpu(2000 << draws.below(4));
        if draws.below(2) == 0 {
            capacity.labels.insert("zone".to_owned(), "a".to_owned());
            for gpu in &mut capacity.gpus {
                gpu.model = "NVIDIA T4".to_owned();
                gpu.memory = ByteSize(16 * ByteSize::GIB);
            }
        }
        let joined = Event::WorkerJoined {
            worker: worker(&name),
            session: "session".into(),
            capacity,
            images: [].into(),
            machine: Arc::default(),
            known: Vec::new(),
        };
        feed(&mut state, now, joined);
    }
    set_floors(&mut state, now, draws);
    for _ in 0..draws.below(20) {
        let of = USERS[usize::try_from(draws.below(3)).unwrap()];
        let submission = submission(of, |spec| random_job(spec, draws));
        feed(&mut state, now, Event::Submitted(submission));
    }
    let by = user("admin");
    for job in state.jobs().map(|job| job.id).collect::<Vec<_>>() {
        if draws.below(8) == 0 {
            let by = by.clone();
            feed(&mut state, now, Event::HoldRequested { job, by });
        }
    }
    for name in ["anna", "ml"] {
        if draws.below(6) == 0 {
            limit(&mut state, now, name, Some(1), Some(MilliGpu(1000)));
        }
    }
    feed(&mut state, now, Event::Ticked);
    (state, now)
}

/// In some clusters two of the three users are in a group, and in some of them there are floors.
fn set_floors(state: &mut State, now: Timestamp, draws: &mut Draws) {
    let guards = |draws: &mut Draws| {
        let floor = u32::try_from(draws.below(6)).unwrap();
        Guards {
            floor: (floor < 3).then_some(MilliGpu(1000 * floor)),
            ..Guards::default()
        }
    };
    let group = group("ml");
    let of_group = guards(draws);
    let weight = 1.0;
    let set = Event::GroupSet {
        group: group.clone(),
        weight,
        guards: of_group,
    };
    feed(state, now, set);
    for (name, member) in [
        ("anna", true),
        ("bert", draws.below(2) == 0),
        ("carl", false),
    ] {
        let set = Event::UserSet {
            user: user(name),
            weight,
            guards: guards(draws),
            group: if member {
                Membership::Of(group.clone())
            } else {
                Membership::None
            },
        };
        feed(state, now, set);
    }
}

/// Sets the limits of a user or group, and leaves floors as they are.
fn limit(
    state: &mut State,
    now: Timestamp,
    name: &str,
    max_running: Option<u32>,
    max_gpus: Option<MilliGpu>,
) {
    let of_group = state.group(&group(name));
    let of_user = state.user(&user(name)).map(|user| &user.guards);
    let floor = of_group.map(|group| &group.guards).or(of_user);
    let guards = Guards {
        max_running,
        max_gpus,
        max_queued: None,
        // What contradicts a limit is refused.
        floor: floor
            .and_then(|guards| guards.floor)
            .min(max_gpus.or(Some(MilliGpu(u32::MAX)))),
    };
    let weight = 1.0;
    let set = if of_group.is_some() {
        Event::GroupSet {
            group: group(name),
            weight,
            guards,
        }
    } else {
        Event::UserSet {
            user: user(name),
            weight,
            guards,
            group: Membership::Unchanged,
        }
    };
    feed(state, now, set);
}

fn random_job(spec: &mut JobSpec, draws: &mut Draws) {
    let request = &mut spec.request;
    request.gpus = u32::try_from(draws.below(5)).unwrap();
    if draws.below(3) == 0 {
        let milli = 100 + 100 * u32::try_from(draws.below(9)).unwrap();
        request.gpu_amount = GpuAmount::Milli(MilliGpu(milli));
    }
    request.cpu = Some(MilliCpu(500 << draws.below(5)));
    request.memory = Some(ByteSize((1 << draws.below(6)) * ByteSize::GIB));
    if draws.below(5) == 0 {
        request.gpu_models = vec!["t4".to_owned()];
    }
    if draws.below(5) == 0 {
        request.gpu_memory = Some(ByteSize(20 * ByteSize::GIB));
    }
    if draws.below(5) == 0 {
        request.labels.insert("zone".to_owned(), "a".to_owned());
    }
    if draws.below(2) == 0 {
        spec.time_request = Some(Duration::from_secs(60 << draws.below(8)));
    }
}

/// Does what was advised.
fn apply(state: &mut State, now: Timestamp, job: JobId, remedy: &Remedy) {
    let of = state.job(job).unwrap().user.clone();
    match remedy {
        Remedy::Release => feed(state, now, Event::ReleaseRequested { job }),
        Remedy::Unlock => feed(state, now, Event::LockSet { lock: None }),
        Remedy::RaiseLimit => limit(state, now, of.as_str(), None, None),
        Remedy::RaiseGroupLimit(group) => limit(state, now, group.as_str(), None, None),
        Remedy::Gpus(_)
        | Remedy::Share(_)
        | Remedy::Cpu(_)
        | Remedy::Memory(_)
        | Remedy::AnyModel
        | Remedy::AnyGpuMemory
        | Remedy::AnyLabels
        | Remedy::Time(_) => {
            state.edit_job(job, |job| {
                job.spec = Arc::new(remedy.applied_to(&job.spec).unwrap());
            });
            feed(state, now, Event::Ticked);
        }
    }
}

#[test]
fn every_remedy_starts_the_job_it_was_told_for() {
    let mut draws = Draws(42);
    let (mut told, mut kinds) = (0, std::collections::BTreeSet::new());
    for _ in 0..1000 {
        let (state, now) = random_cluster(&mut draws);
        check_invariants(&state).unwrap();
        for waiting in queue(&state, now) {
            let id = waiting.job.id;
            let explanation = explain(&state, now, id).unwrap();
            let next = explanation.reasons.contains(&Reason::Next);
            assert!(!next, "{id} was passed over: {:?}", waiting.job);
            for remedy in explanation.remedies {
                let mut changed = state.clone();
                apply(&mut changed, now, id, &remedy);
                check_invariants(&changed).unwrap();
                let phase = changed.job(id).unwrap().state.phase();
                assert_eq!(phase, Phase::Assigned, "{remedy} did not start {id}");
                told += 1;
                kinds.insert(format!("{remedy:?}").split('(').next().unwrap().to_owned());
            }
        }
    }
    assert!(told > 400, "only {told} remedies were told");
    assert!(
        kinds.len() >= 9 && kinds.contains("RaiseGroupLimit") && kinds.contains("Time"),
        "only {kinds:?}"
    );
}
