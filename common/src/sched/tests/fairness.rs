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
            known: Vec::new(),
        });
        shop
    }

    fn step(&mut self, event: Event) {
        let mut effects = Effects::default();
        step(&mut self.state, self.now, event, &mut effects).unwrap();
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
        self.step(Event::UserSet {
            user: user(of),
            weight,
            guards: Guards::default(),
        });
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
        let end = self.now.after(Duration::from_secs(2 * 86_400));
        let mut number = 0;
        while self.now < end {
            for of in ["anna", "bert"] {
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
        self.had["anna"] / self.had["bert"]
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
