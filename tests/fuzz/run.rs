//! Runs a target's cases within bounds of time and memory.
//!
//! Each target has a process of its own, so that its memory can be told from that of others, and a case that ends the
//! process is still known.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::bend::bend;
use crate::dice::Dice;

/// The processor time of one case.
const CASE_MAX: Duration = Duration::from_secs(1);
/// The time after which a case that does not end is given up, on a machine that is busy with other things.
const CASE_HANGS: Duration = Duration::from_secs(60);
/// How much a case may add to the process's largest size.
const GROWTH_MAX_KIB: u64 = 512 << 10;
/// The address space of a target's process.
const SPACE_MAX_BYTES: u64 = 4 << 30;
/// Set in a target's process: the file that holds the case that runs.
const CHILD: &str = "DOPQ_FUZZ_CHILD";

/// One reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// The path of the test that runs it.
    pub(crate) test: &'static str,
    /// Known attacks, each of which once broke a bound, and sound input.
    pub(crate) corpus: Vec<Vec<u8>>,
    pub(crate) generate: fn(&mut Dice) -> Vec<u8>,
    /// Panics when an invariant does not hold.
    pub(crate) check: fn(&[u8]),
    /// The longest case in bytes.
    pub(crate) max_bytes: usize,
}

/// When the case that runs was started.
type Started = Arc<Mutex<Duration>>;

impl Target {
    /// Runs the corpus, then cases until the time is over.
    pub(crate) fn run(self) {
        let Some(file) = std::env::var_os(CHILD).map(PathBuf::from) else {
            return self.in_process();
        };
        let space = Rlimit {
            current: Some(SPACE_MAX_BYTES),
            maximum: Some(SPACE_MAX_BYTES),
        };
        setrlimit(Resource::As, space).expect("less space");
        let Self { name, .. } = self;
        if let Some(case) = case_file(name) {
            let bytes = std::fs::read(&case).expect("the case's file");
            bounded(&self, &bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
            return;
        }
        let seconds = number("DOPQ_FUZZ_SECONDS").unwrap_or(10);
        let until = now(ClockId::Monotonic) + Duration::from_secs(seconds);
        let seed = number("DOPQ_FUZZ_SEED").unwrap_or(7);
        let started = Started::default();
        let over = Arc::new(AtomicBool::new(false));
        let worker = {
            let (started, over) = (Arc::clone(&started), Arc::clone(&over));
            std::thread::spawn(move || {
                let ended = cases(&self, seed, until, &started, &file);
                over.store(true, Ordering::Release);
                ended
            })
        };
        while !over.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(50));
            let since = *started.lock().expect("the cases' lock");
            let age = now(ClockId::Monotonic).saturating_sub(since);
            if !over.load(Ordering::Acquire) && since > Duration::ZERO && age > CASE_HANGS {
                panic!("{name}: a case does not end");
            }
        }
        match worker.join().expect("the cases' thread") {
            Ok(count) => eprintln!("{name}: {count} cases, seed {seed}"),
            Err(why) => panic!("{name}: {why}"),
        }
    }

    /// Runs the target's test in a process of its own.
    fn in_process(self) {
        let Self { name, test, .. } = self;
        let file = std::env::temp_dir().join(format!("dopq-fuzz-{name}-{}", std::process::id()));
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, &file)
            .status();
        let status = status.expect("it starts");
        let again = format!(
            "run the case again with DOPQ_FUZZ_CASE={name}:{}",
            file.display()
        );
        assert!(status.success(), "{name}: {status}; {again}");
        std::fs::remove_file(&file).ok();
    }
}

/// How many cases ran, or what went wrong with which.
fn cases(
    target: &Target,
    seed: u64,
    until: Duration,
    started: &Started,
    file: &Path,
) -> Result<u64, String> {
    let mut dice = Dice::new(seed);
    let mut count = 0;
    loop {
        let bytes = match target
            .corpus
            .get(usize::try_from(count).unwrap_or(usize::MAX))
        {
            Some(bytes) => bytes.clone(),
            None if now(ClockId::Monotonic) > until => return Ok(count),
            None => next(target, &mut dice),
        };
        std::fs::write(file, &bytes).expect("the case is kept");
        *started.lock().expect("the cases' lock") = now(ClockId::Monotonic);
        bounded(target, &bytes)?;
        count += 1;
    }
}

fn next(target: &Target, dice: &mut Dice) -> Vec<u8> {
    let max = target.max_bytes;
    let mut bytes = match dice.below(3) {
        0 if !target.corpus.is_empty() => {
            let of = dice.below(target.corpus.len());
            bend(&target.corpus[of], dice, max)
        }
        1 => bend(&(target.generate)(dice), dice, max),
        _ => (target.generate)(dice),
    };
    bytes.truncate(max);
    bytes
}

/// Runs one case and says which bound it broke.
fn bounded(target: &Target, bytes: &[u8]) -> Result<(), String> {
    let (before, largest) = (now(ClockId::ThreadCPUTime), largest_kib());
    let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(bytes)));
    let spent = now(ClockId::ThreadCPUTime).saturating_sub(before);
    let grown = largest_kib().saturating_sub(largest);
    if checked.is_err() {
        return Err("a case panicked".to_owned());
    }
    if spent > CASE_MAX {
        return Err(format!("a case took {} ms", spent.as_millis()));
    }
    if grown > GROWTH_MAX_KIB {
        return Err(format!("a case took {} MiB", grown >> 10));
    }
    Ok(())
}

fn now(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("a time after the clock's start")
}

/// The most memory that the process ever had.
fn largest_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn case_file(name: &str) -> Option<PathBuf> {
    let case = std::env::var("DOPQ_FUZZ_CASE").ok()?;
    let (target, file) = case.split_once(':').expect("DOPQ_FUZZ_CASE is TARGET:FILE");
    (target == name).then(|| file.into())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}
