//! What the default policy promises to users who compete, run in time against the scheduler itself.

use std::collections::BTreeSet;

use super::*;

/// A cluster in which jobs run for as long as they say, and users want whatever they can get.
struct Shop {
    state: State,
    now: Timestamp,
    ends: BTreeSet<(Timestamp, AttemptId)>,
    /// GPU-seconds that each user was given.
    had: BTreeMap<String, f64>,
    /// How long each job waited.
    waits: BTreeMap<JobId, Duration>,
}

impl Shop {
    fn new(gpus: u32) -> Self {
        let mut shop = Self {
            state: State::new(Settings {
                history_max_jobs: 0,
                ..Settings::default()
            }),
            now: Timestamp::from_millis(1_000_000),
            ends: BTreeSet::new(),
            had: BTreeMap::new(),
            waits: BTreeMap::new(),
        };
        shop.step(Event::WorkerJoined {
            worker: worker("w"),
            session: "session".into(),
            capacity: capacity("w", gpus),
            images: [].into(),
            machine: Arc::default(),
            known: Vec::new(),
        });
        shop
    }

    fn step(&mut self, event: Event) {
        let mut effects = Effects::default();
        decide(&mut self.state, self.now, event, &mut effects).unwrap();
        for act in effects.acts {
            if let Effect::Run { attempt, .. } = act {
                let job = self.state.job(attempt.job).unwrap();
                let runs = job.spec.time_request.unwrap();
                let had = self.had.entry(job.user.to_string()).or_default();
                *had += runs.as_secs_f64();
                let waited = self.now.since(job.submitted_at);
                self.waits.insert(attempt.job, waited);
                self.ends.insert((self.now.after(runs), attempt));
                self.step(Event::Reported {
                    worker: worker("w"),
                    attempt,
                    progress: phase(AttemptPhase::Running),
                });
            }
        }
    }

    fn submit(&mut self, of: &str, seconds: u64) -> JobId {
        self.step(Event::Submitted(submission(of, |spec| {
            spec.time_request = Some(Duration::from_secs(seconds));
        })));
        JobId(self.state.meta().last_job)
    }

    fn weigh(&mut self, of: &str, weight: f64) {
        self.set(of, weight, Guards::default(), Membership::Unchanged);
    }

    fn set(&mut self, of: &str, weight: f64, guards: Guards, group: Membership) {
        self.step(Event::UserSet {
            user: user(of),
            weight,
            guards,
            group,
        });
    }

    /// Makes a group of these users.
    fn unite(&mut self, name: &str, weight: f64, members: &[&str]) {
        let guards = Guards::default();
        self.step(groups::group_set(name, weight, guards));
        for of in members {
            let group = Membership::Of(group(name));
            self.set(of, 1.0, Guards::default(), group);
        }
    }

    /// The part that these users had of what everybody was given.
    fn part(&self, of: &[&str]) -> f64 {
        let had = self
            .had
            .iter()
            .filter(|(name, _)| of.contains(&name.as_str()));
        had.map(|(_, had)| had).sum::<f64>() / self.had.values().sum::<f64>()
    }

    /// Lets jobs end until then.
    fn run_until(&mut self, then: Timestamp) {
        while self.ends.first().is_some_and(|(end, _)| *end <= then) {
            let (end, attempt) = self.ends.pop_first().unwrap();
            self.now = end;
            let ran = Duration::ZERO;
            let progress = Progress::Finished {
                outcome: Outcome::new(Cause::Succeeded, ""),
                ran,
                log_bytes: 0,
                results: None,
            };
            let worker = worker("w");
            self.step(Event::Reported {
                worker,
                attempt,
                progress,
            });
        }
        self.now = then;
    }

    /// Two users who always want more, over two half-lives; the ratio of what they were given.
    fn compete(&mut self) -> f64 {
        self.all_want_more(&["anna", "bert"]);
        self.had["anna"] / self.had["bert"]
    }

    /// Users who always want more, over two half-lives.
    fn all_want_more(&mut self, users: &[&str]) {
        let end = self.now.after(Duration::from_secs(2 * 86_400));
        let mut number = 0;
        while self.now < end {
            for of in users {
                let waiting = self.state.jobs().filter(|job| job.user == user(of));
                let waiting = waiting.filter(|job| job.state.phase() == Phase::Queued);
                for _ in waiting.count()..4 {
                    number += 1;
                    // Neither all alike nor ending together.
                    self.submit(of, 600 + 37 * (number % 17));
                }
            }
            let next = self.ends.first().map_or(end, |(end, _)| *end);
            self.run_until(next);
        }
    }
}

#[test]
fn equal_users_get_equal_shares() {
    let ratio = Shop::new(4).compete();
    assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
}

#[test]
fn shares_follow_weights() {
    let mut shop = Shop::new(4);
    shop.weigh("anna", 3.0);
    let ratio = shop.compete();
    assert!((ratio / 3.0 - 1.0).abs() < 0.05, "{ratio}");
}

fn about(part: f64, expected: f64) {
    assert!((part / expected - 1.0).abs() < 0.05, "{part} of {expected}");
}

#[test]
fn groups_have_equal_shares_however_many_they_are() {
    let mut shop = Shop::new(6);
    shop.unite("one", 1.0, &["anna"]);
    shop.unite("three", 1.0, &["bert", "carl", "dora"]);
    shop.all_want_more(&["anna", "bert", "carl", "dora"]);
    about(shop.part(&["anna"]), 0.5);
    for of in ["bert", "carl", "dora"] {
        about(shop.part(&[of]), 1.0 / 6.0);
    }
}

#[test]
fn users_without_a_group_stand_beside_groups() {
    let mut shop = Shop::new(6);
    shop.unite("two", 1.0, &["anna", "bert"]);
    shop.all_want_more(&["anna", "bert", "carl", "dora"]);
    about(shop.part(&["anna", "bert"]), 1.0 / 3.0);
    about(shop.part(&["carl"]), 1.0 / 3.0);
    about(shop.part(&["dora"]), 1.0 / 3.0);
}

#[test]
fn shares_of_groups_follow_their_weights_and_members_theirs_within() {
    let mut shop = Shop::new(6);
    shop.unite("many", 3.0, &["anna", "bert"]);
    shop.unite("few", 1.0, &["carl"]);
    shop.weigh("anna", 2.0);
    shop.all_want_more(&["anna", "bert", "carl"]);
    about(shop.part(&["anna", "bert"]), 0.75);
    about(shop.part(&["anna"]), 0.5);
    about(shop.part(&["bert"]), 0.25);
}

#[test]
fn what_a_member_leaves_goes_to_the_others_of_the_group() {
    let mut shop = Shop::new(6);
    shop.unite("ml", 1.0, &["anna", "bert"]);
    shop.all_want_more(&["bert", "carl"]);
    about(shop.part(&["bert"]), 0.5);
}

#[test]
fn a_floor_is_had_whatever_was_had() {
    // By share alone Anna would have a tenth of four GPUs; two are hers.
    let mut shop = Shop::new(4);
    let floor = Guards {
        floor: Some(MilliGpu(2000)),
        ..Guards::default()
    };
    shop.set("anna", 1.0, floor, Membership::Unchanged);
    shop.weigh("bert", 9.0);
    shop.all_want_more(&["anna", "bert"]);
    about(shop.part(&["anna"]), 0.5);
}

#[test]
fn a_flood_delays_nobody_else_by_more_than_one_of_its_jobs() {
    let mut shop = Shop::new(8);
    let mut longest = 0;
    for number in 0..10_000 {
        let seconds = 60 + 61 * (number % 10);
        longest = longest.max(seconds);
        shop.submit("flood", seconds);
    }
    shop.run_until(shop.now.after(Duration::from_secs(3_000)));
    let few: Vec<JobId> = (0..10).map(|_| shop.submit("few", 300)).collect();
    shop.run_until(shop.now.after(Duration::from_secs(3_000)));
    for job in few {
        let waited = shop.waits[&job].as_secs();
        assert!(waited <= longest, "job {job} waited {waited} s");
    }
}

#[test]
fn a_big_job_is_not_starved_by_small_ones() {
    // A place is promised to one of the small jobs already; the big one is next, and then waits for the
    // longest of those that run.
    let mut shop = Shop::new(4);
    for _ in 0..200 {
        shop.submit("anna", 500);
        shop.submit("anna", 700);
    }
    shop.step(Event::Submitted(submission("bert", |spec| {
        spec.request.gpus = 4;
        spec.time_request = Some(Duration::from_secs(100));
    })));
    let big = JobId(shop.state.meta().last_job);
    shop.run_until(shop.now.after(Duration::from_secs(2_000)));
    let waited = shop.waits.get(&big).map(Duration::as_secs);
    assert!(waited.is_some_and(|waited| waited <= 1_000), "{waited:?}");
}
