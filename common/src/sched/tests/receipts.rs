//! The receipt adds up: whatever happens to attempts, its lines are what the account says.

use proptest::prelude::*;

use super::*;
use crate::job::ChargeEnd;

const H: Duration = Duration::from_secs(86_400);

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 + 1e-9 * a.abs().max(b.abs())
}

fn receipt_of(c: &Cluster, name: &str) -> Receipt {
    receipt(&c.state, c.now, &user(name))
}

#[test]
fn each_attempt_has_a_line_that_says_what_is_left_of_it() {
    let mut c = Cluster::new();
    c.join("w1", 4);
    c.submit("anna", |spec| spec.request.gpus = 2);
    c.pass(10, &["w1"]);
    c.report("w1", "1.1", done(Cause::Succeeded)).unwrap();
    c.submit("anna", |_| {});
    c.pass(300, &["w1"]);
    c.report("w1", "2.1", done(Cause::GpuFault)).unwrap();
    c.pass(5, &["w1"]);
    c.submit("anna", |spec| spec.class = Class::Nice);
    c.submit("bert", |_| {});
    let receipt = receipt_of(&c, "anna");
    let told: Vec<_> = receipt
        .lines
        .iter()
        .map(|line| {
            let end = match line.course {
                Course::Held { .. } => "held",
                Course::Ended { end, .. } => end.as_str(),
            };
            (line.job.0, line.attempt, end, line.charged)
        })
        .collect();
    let expected = [
        (2, 2, "held", 0.0),
        (2, 1, "refunded", 300.0),
        (1, 1, "at_least_minimum", 120.0),
    ];
    assert_eq!(told, expected);
    let [held, refunded, short] = [0, 1, 2].map(|at| receipt.lines[at]);
    assert!(close(held.left, 60.0), "its minimum is taken at once");
    assert_eq!(held.course, Course::Held { deposit: 60.0 });
    assert!(refunded.left.abs() < f64::EPSILON && close(refunded.refunded(), 300.0));
    let faded = crate::penalty::usage::kept(Duration::from_secs(315), H);
    assert!(close(short.left, 120.0 * faded), "{short:?}");
    assert!(close(receipt.account.usage, held.left + short.left));
    assert_eq!(receipt.account.tenth_in.as_secs(), 287_014);
}

#[test]
fn what_is_forgotten_is_told_as_earlier() {
    let mut c = Cluster::with(Settings {
        history_max_jobs: 1,
        ..Settings::default()
    });
    c.join("w1", 1);
    for id in 1..=3_u64 {
        c.submit("anna", |_| {});
        c.report("w1", &format!("{id}.1"), done(Cause::Succeeded))
            .unwrap();
        c.now = c.now.after(Duration::from_secs(1));
    }
    let receipt = receipt_of(&c, "anna");
    let jobs: Vec<u64> = receipt.lines.iter().map(|line| line.job.0).collect();
    assert_eq!(jobs, [3]);
    assert!((receipt.earlier - 120.0).abs() < 0.01, "{receipt:?}");
    let nobody = receipt_of(&c, "nobody");
    assert!(nobody.lines.is_empty() && nobody.account.usage.abs() < f64::EPSILON);
}

/// Something that happens to one of the attempts, or to the cluster.
#[derive(Debug, Clone, Copy)]
enum Act {
    Submit,
    Urgent,
    Begin,
    End,
    Refuse,
    Cancel,
    Lose,
    Pass,
}

/// What happens, whom it happens to, and how many hundredths of the half-life pass before it.
fn acts() -> impl Strategy<Value = Vec<(Act, u16, u8)>> {
    let act = prop_oneof![
        6 => Just(Act::Submit),
        2 => Just(Act::Urgent),
        6 => Just(Act::Begin),
        6 => Just(Act::End),
        1 => Just(Act::Refuse),
        1 => Just(Act::Cancel),
        1 => Just(Act::Lose),
        3 => Just(Act::Pass),
    ];
    prop::collection::vec((act, any::<u16>(), any::<u8>()), 0..120)
}

/// A scheduler whose attempts go as lots decide.
struct Fate {
    state: State,
    now: Timestamp,
    attempts: Vec<(WorkerId, AttemptId)>,
}

const WORKERS: [(&str, u32); 2] = [("w1", 2), ("w2", 4)];

impl Fate {
    fn new(half_life: Duration, min_charge: Duration, history_max_jobs: usize) -> Self {
        let mut settings = Settings {
            history_max_jobs,
            // So that what is remembered decides neither where jobs go nor, by how long they ran, when.
            placement: Placement::BestFit,
            backfill: Backfill::BestEffort,
            retry_backoff: Duration::ZERO,
            preempt_after: Duration::ZERO,
            ..Settings::default()
        };
        settings.usage.half_life = half_life;
        settings.usage.min_charge = min_charge;
        let mut fate = Self {
            state: State::new(settings),
            now: Timestamp::from_millis(1_000_000),
            attempts: Vec::new(),
        };
        for (name, _) in WORKERS {
            fate.join(name);
        }
        fate
    }

    /// Stale events are refused, which is as good.
    fn step(&mut self, event: Event) {
        let mut effects = Effects::default();
        drop(decide(&mut self.state, self.now, event, &mut effects));
        for act in effects.acts {
            if let Effect::Run { worker, attempt } = act {
                self.attempts.push((worker, attempt));
            }
        }
    }

    /// A machine introduces itself and knows of nothing: what was begun there is lost.
    fn join(&mut self, name: &str) {
        let gpus = WORKERS.iter().find(|(other, _)| *other == name).unwrap().1;
        self.step(Event::WorkerJoined {
            worker: worker(name),
            session: "session".into(),
            capacity: capacity(name, gpus),
            images: [].into(),
            machine: Arc::default(),
            known: Vec::new(),
        });
    }

    fn report(&mut self, choice: u16, progress: Progress) {
        let at = usize::from(choice).checked_rem(self.attempts.len());
        if let Some((worker, attempt)) = at.map(|at| self.attempts[at].clone()) {
            self.step(Event::Reported {
                worker,
                attempt,
                progress,
            });
        }
    }

    fn act(&mut self, act: Act, choice: u16) {
        let of = ["anna", "bert"][usize::from(choice % 2)];
        match act {
            Act::Submit | Act::Urgent => self.step(Event::Submitted(submission(of, |spec| {
                spec.request.gpus = u32::from(choice >> 1) % 4;
                if choice & 16 == 0 {
                    spec.request.gpu_amount = GpuAmount::Milli(MilliGpu(370));
                }
                spec.retries = u32::from(choice >> 5) % 3;
                spec.preemptible = choice & 256 == 0;
                if choice & 0xe00 == 0 {
                    spec.class = Class::Nice;
                }
                if matches!(act, Act::Urgent) {
                    spec.class = Class::Urgent;
                }
            }))),
            Act::Begin => self.report(choice, phase(AttemptPhase::Running)),
            Act::End => {
                let causes = [
                    Cause::Succeeded,
                    Cause::UserError,
                    Cause::EngineError,
                    Cause::Preempted,
                    Cause::TimeLimit,
                ];
                let cause = causes[usize::from(choice >> 8) % causes.len()];
                self.report(choice, done(cause));
            }
            Act::Refuse => {
                let reason = "full".to_owned();
                self.report(choice, Progress::Refused { reason });
            }
            Act::Cancel => {
                let job = JobId(1 + u64::from(choice) % self.state.meta().last_job.max(1));
                let by = user("admin");
                self.step(Event::CancelRequested { job, by });
            }
            Act::Lose => self.join(WORKERS[usize::from(choice) % 2].0),
            Act::Pass => self.step(Event::Ticked),
        }
    }

    fn pass(&mut self, hundredths: u8) {
        let half_life = self.state.settings().usage.half_life;
        self.now = self.now.after(half_life * u32::from(hundredths) / 100);
    }

    fn receipts(&self) -> Vec<Receipt> {
        let users = self.state.users();
        users
            .map(|user| receipt(&self.state, self.now, &user.name))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn lines_and_what_came_earlier_are_the_usage(
        acts in acts(),
        half_life in prop::sample::select(vec![60_u64, 3_600, 86_400, 2_592_000]),
        min_charge in prop::sample::select(vec![0_u64, 60, 7_200]),
    ) {
        let times = [half_life, min_charge].map(Duration::from_secs);
        let mut whole = Fate::new(times[0], times[1], 1000);
        let mut forgetful = Fate::new(times[0], times[1], 2);
        for (act, choice, hundredths) in acts {
            for fate in [&mut whole, &mut forgetful] {
                // Mostly little time, so that attempts shorter than the minimum are met as well.
                fate.pass(hundredths.saturating_sub(200));
                fate.act(act, choice);
            }
            for (receipt, other) in whole.receipts().iter().zip(forgetful.receipts()) {
                let attempts = receipt.lines.len();
                let dropped = receipt.lines.iter().any(|line| line.attempt > 8);
                prop_assert!(dropped || receipt.earlier.abs() < f64::EPSILON, "{receipt:?}");
                let lines: f64 = receipt.lines.iter().map(|line| line.left).sum();
                prop_assert!(close(lines + receipt.earlier, receipt.account.usage));
                for line in &receipt.lines {
                    prop_assert!(line.left >= 0.0 && line.charged >= 0.0, "{line:?}");
                    if let Course::Ended { end: ChargeEnd::Refunded, .. } = line.course {
                        prop_assert!(line.left.abs() < f64::EPSILON, "{line:?}");
                    }
                }
                // Whoever forgets jobs still knows what they cost.
                prop_assert!(close(receipt.account.usage, other.account.usage));
                let known: f64 = other.lines.iter().map(|line| line.left).sum();
                prop_assert!(close(known + other.earlier, other.account.usage));
                prop_assert!(other.earlier > -1e-6 && other.lines.len() <= attempts);
            }
        }
    }
}
