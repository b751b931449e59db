//! Exit codes: what each means, and which one a finished job gives.
//!
//! `docs/API.md` and `dopq --help` list them; scripts rely on them, so a number never changes its meaning.

use dopq_common::api::{ErrorCode, Job, Outcome};

/// Done.
pub(crate) const DONE: u8 = 0;
/// The command failed for a reason that has no code of its own.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no such job, user, node or file, or none that one may see.
pub(crate) const NOT_FOUND: u8 = 3;
/// The token is missing, wrong, or does not allow it.
pub(crate) const NOT_ALLOWED: u8 = 4;
/// The master, or what it needs, is out of reach.
pub(crate) const UNREACHABLE: u8 = 5;
/// The thing's state does not allow it.
pub(crate) const CONFLICT: u8 = 6;
/// The configuration is wrong.
pub(crate) const BAD_CONFIGURATION: u8 = 64;
/// `wait --timeout` ran out.
pub(crate) const TIMED_OUT: u8 = 124;
/// DoPQ, not the job's own code, ended the job.
pub(crate) const JOB_NOT_RUN: u8 = 125;
/// Interrupted from the keyboard.
pub(crate) const INTERRUPTED: u8 = 130;

/// The code for an error that the master answered with.
pub(crate) const fn of_error(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::Unauthorized | ErrorCode::Forbidden => NOT_ALLOWED,
        ErrorCode::NotFound => NOT_FOUND,
        ErrorCode::Conflict => CONFLICT,
        ErrorCode::Unavailable => UNREACHABLE,
        ErrorCode::BadRequest
        | ErrorCode::TooLarge
        | ErrorCode::Invalid
        | ErrorCode::TooManyRequests
        | ErrorCode::InsufficientStorage
        | ErrorCode::Internal
        | ErrorCode::Unknown => FAILED,
    }
}

/// The code of a finished job: the container's own, or [`JOB_NOT_RUN`] where DoPQ ended the job.
///
/// A container that was stopped from outside and then left with 0 still did not succeed, so only a
/// job whose cause is `succeeded` gives 0.
pub(crate) fn of_job(job: &Job) -> u8 {
    job.outcome.as_ref().map_or(JOB_NOT_RUN, of_outcome)
}

fn of_outcome(outcome: &Outcome) -> u8 {
    let own = outcome.exit_code.and_then(|code| u8::try_from(code).ok());
    match outcome.cause.as_str() {
        "succeeded" => DONE,
        // These end a container that ran as it was told to; its own code says most.
        "user_error" | "oom_host" | "oom_gpu" | "time_limit" | "idle_stopped" | "cancelled" => {
            own.filter(|code| *code != DONE).unwrap_or(JOB_NOT_RUN)
        }
        // Everything else, known now or added later, is DoPQ's doing.
        _ => JOB_NOT_RUN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_job_gives_its_own_code_or_125() {
        let cases = [
            ("succeeded", Some(0), 0),
            ("succeeded", None, 0),
            ("user_error", Some(3), 3),
            ("user_error", Some(139), 139),
            ("user_error", None, 125),
            ("user_error", Some(4096), 125),
            ("oom_host", Some(137), 137),
            ("time_limit", Some(143), 143),
            ("cancelled", Some(143), 143),
            ("cancelled", Some(0), 125),
            ("cancelled", None, 125),
            ("build_failed", Some(1), 125),
            ("worker_lost", None, 125),
            ("engine_error", Some(137), 125),
            ("a_cause_of_tomorrow", Some(7), 125),
        ];
        for (cause, exit_code, expected) in cases {
            let outcome = Outcome {
                cause: cause.to_owned(),
                by: None,
                exit_code,
                detail: String::new(),
                hint: String::new(),
            };
            assert_eq!(of_outcome(&outcome), expected, "{cause} {exit_code:?}");
        }
    }
}
