//! How an exit is told: a cause and one sentence of facts, from what the engine shows and who ended it.

use serde::{Deserialize, Serialize};

use crate::job::{self, Cause, Outcome};
use crate::resources::ByteSize;
use crate::time::Timestamp;

/// The same as an exit status of the engine.
const CHECKPOINTED: i64 = job::CHECKPOINTED as i64;

/// The exit code of what SIGKILL ended.
const SIGKILLED: i64 = 137;

/// How a container ended, as the engine shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 and the signal's number for one that a signal ended.
    pub code: i64,
    /// Whether the kernel killed a process of it at its memory limit.
    pub oom_killed: bool,
    /// When it started.
    #[serde(rename = "started_at_ms", default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(rename = "finished_at_ms", default)]
    pub finished_at: Option<Timestamp>,
}

/// Who ended a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ender {
    /// Its own process, or a signal that neither we nor the engine sent.
    Itself,
    /// We did, on this order.
    Order(Outcome),
    /// The engine, when it stopped.
    Engine,
    /// Nobody watched, so it cannot be proven.
    Unproven,
    /// The machine was restarted.
    Reboot,
}

impl Exit {
    /// How long it ran, in milliseconds.
    #[must_use]
    pub fn ran_ms(&self) -> u64 {
        match (self.started_at, self.finished_at) {
            (Some(from), Some(to)) => to.as_millis().saturating_sub(from.as_millis()),
            (None, _) | (_, None) => 0,
        }
    }

    /// Whether the code is one that a stopping engine or a restarted machine leaves behind, so that it
    /// says nothing of the job until it is proven that neither did it.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        matches!(self.code, 137 | 143 | 255) && !self.ran_out_of_memory()
    }

    /// Whether the kernel ended its main process at the memory limit. A kill of another process explains only SIGKILL.
    #[must_use]
    pub const fn ran_out_of_memory(&self) -> bool {
        self.oom_killed && self.code == SIGKILLED
    }
}

/// How an exit is told. `memory` is the container's limit.
#[must_use]
pub fn classify(exit: &Exit, by: &Ender, memory: ByteSize) -> Outcome {
    let outcome = match by {
        Ender::Order(ordered) => match (ordered.cause, exit.code) {
            (Cause::Preempted | Cause::TimeLimit, CHECKPOINTED) => Outcome::new(
                Cause::Preempted,
                format!("{}; it saved its state and runs again", ordered.detail),
            ),
            (_, _) => ordered.clone(),
        },
        Ender::Itself => {
            let (cause, detail) = by_itself(exit, memory);
            Outcome::new(cause, detail)
        }
        Ender::Engine => Outcome::new(Cause::EngineError, "the container engine stopped"),
        Ender::Unproven => Outcome::new(
            Cause::EngineError,
            format!("it ended with code {} while the worker was down", exit.code),
        ),
        Ender::Reboot => Outcome::new(Cause::WorkerLost, "the machine restarted"),
    };
    Outcome {
        exit_code: i32::try_from(exit.code).ok(),
        ..outcome
    }
}

fn by_itself(exit: &Exit, memory: ByteSize) -> (Cause, String) {
    let (cause, detail) = match exit.code {
        // A process that was killed inside a container that went on to succeed did not fail the job.
        0 => return (Cause::Succeeded, "exited with code 0".to_owned()),
        code if exit.ran_out_of_memory() => {
            let detail = format!("killed at its memory limit of {memory} (code {code})");
            return (Cause::OomHost, detail);
        }
        CHECKPOINTED => (
            Cause::UserError,
            "exited with code 85 (run me again) although DoPQ did not stop it".to_owned(),
        ),
        code @ 129..=192 => {
            let signal = code - 128;
            let name = signal_name(signal);
            (
                Cause::UserError,
                format!("ended by its own signal {signal}{name}"),
            )
        }
        code => (Cause::UserError, format!("exited with code {code}")),
    };
    if exit.oom_killed {
        let killed = "the kernel killed another of its processes at the memory limit of";
        return (cause, format!("{detail}; {killed} {memory}"));
    }
    (cause, detail)
}

/// Gives the true cause to a program that failed of its own after it said, in this line, that a GPU's memory ran
/// out. No exit code tells that.
#[must_use]
pub(super) fn blame_gpu_memory(outcome: Outcome, said: Option<&str>) -> Outcome {
    match (outcome.cause, said) {
        (Cause::UserError, Some(line)) => Outcome {
            cause: Cause::OomGpu,
            detail: format!("{} after it printed: {line}", outcome.detail),
            ..outcome
        },
        (_, Some(_) | None) => outcome,
    }
}

/// Tells that the next attempt does not continue where this one ended.
#[must_use]
pub(super) fn without_checkpoint(outcome: Outcome, why: Option<&str>) -> Outcome {
    match why {
        Some(why) => Outcome {
            detail: format!("{}; its checkpoint is not stored: {why}", outcome.detail),
            ..outcome
        },
        None => outcome,
    }
}

const fn signal_name(signal: i64) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserName;

    const LIMIT: ByteSize = ByteSize(32 * ByteSize::MIB);

    fn exit(code: i64, oom_killed: bool) -> Exit {
        Exit {
            code,
            oom_killed,
            ..Exit::default()
        }
    }

    #[test]
    fn every_exit_has_a_true_cause() {
        let anna = Outcome::cancelled(&"anna".parse().expect("name"), "said so");
        let cancel = || Ender::Order(anna.clone());
        let order = |cause| Ender::Order(Outcome::new(cause, "said so"));
        let table = [
            (0, false, Ender::Itself, Cause::Succeeded),
            (0, true, Ender::Itself, Cause::Succeeded),
            (3, false, Ender::Itself, Cause::UserError),
            (85, false, Ender::Itself, Cause::UserError),
            (137, true, Ender::Itself, Cause::OomHost),
            (1, true, Ender::Itself, Cause::UserError),
            (143, true, Ender::Itself, Cause::UserError),
            (137, false, Ender::Itself, Cause::UserError),
            (139, false, Ender::Itself, Cause::UserError),
            (137, false, Ender::Engine, Cause::EngineError),
            (143, false, Ender::Unproven, Cause::EngineError),
            (255, false, Ender::Reboot, Cause::WorkerLost),
            (137, false, cancel(), Cause::Cancelled),
            (0, false, cancel(), Cause::Cancelled),
            (85, false, cancel(), Cause::Cancelled),
            (85, false, order(Cause::Preempted), Cause::Preempted),
            (85, false, order(Cause::TimeLimit), Cause::Preempted),
            (143, false, order(Cause::TimeLimit), Cause::TimeLimit),
        ];
        for (code, oom, by, cause) in table {
            let outcome = classify(&exit(code, oom), &by, LIMIT);
            assert_eq!(outcome.cause, cause, "{code} {oom} {by:?}");
            let canceller = outcome.by.as_ref().map(UserName::as_str);
            assert_eq!(canceller, (cause == Cause::Cancelled).then_some("anna"));
            assert_eq!(outcome.exit_code, i32::try_from(code).ok());
        }
    }

    #[test]
    fn a_killed_child_is_a_remark_on_the_main_process_own_end() {
        let told = |code| classify(&exit(code, true), &Ender::Itself, LIMIT).detail;
        assert_eq!(
            told(1),
            "exited with code 1; the kernel killed another of its processes at the memory limit of 32 MiB"
        );
        assert!(!told(0).contains("kernel"), "it went on to succeed");
        assert!(!told(137).contains("another"), "{}", told(137));
    }

    #[test]
    fn only_a_programs_own_failure_is_blamed_on_the_gpus_memory() {
        let line = "CUDA error: out of memory";
        let failed = classify(&exit(1, false), &Ender::Itself, LIMIT);
        let blamed = blame_gpu_memory(failed.clone(), Some(line));
        assert_eq!(blamed.cause, Cause::OomGpu);
        assert_eq!(blamed.exit_code, Some(1));
        assert_eq!(
            blamed.detail,
            "exited with code 1 after it printed: CUDA error: out of memory"
        );
        assert_eq!(blame_gpu_memory(failed.clone(), None), failed);
        let anna = Outcome::cancelled(&"anna".parse().expect("name"), "said so");
        let anna = Ender::Order(anna);
        for (code, oom, by) in [
            (0, false, Ender::Itself),
            (137, true, Ender::Itself),
            (1, false, Ender::Engine),
            (1, false, anna),
        ] {
            let outcome = classify(&exit(code, oom), &by, LIMIT);
            assert_eq!(blame_gpu_memory(outcome.clone(), Some(line)), outcome);
        }
    }

    #[test]
    fn only_codes_that_an_engine_leaves_behind_are_doubted() {
        for (code, oom, doubtful) in [
            (0, false, false),
            (1, false, false),
            (137, false, true),
            (137, true, false),
            (143, false, true),
            (143, true, true),
            (255, false, true),
            (139, false, false),
        ] {
            assert_eq!(exit(code, oom).is_doubtful(), doubtful, "{code} {oom}");
        }
    }
}
