//! Exit codes.
//!
//! `docs/API.md` and `dopq --help` list them; scripts rely on them, so a number never changes its meaning.

use dopq_common::api::{ErrorCode, Job, Outcome};

/// Done.
pub(crate) const DONE: u8 = 0;
/// Any other failure.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// The job, user, node or file does not exist, or the user may not see it.
pub(crate) const NOT_FOUND: u8 = 3;
/// The token is missing, wrong, or does not allow it.
pub(crate) const NOT_ALLOWED: u8 = 4;
/// The master, or a service that it needs, is unreachable.
pub(crate) const UNREACHABLE: u8 = 5;
/// The state of the job, user or group does not allow it.
pub(crate) const CONFLICT: u8 = 6;
/// The configuration is wrong.
pub(crate) const BAD_CONFIGURATION: u8 = 64;
/// `wait --timeout` expired.
pub(crate) const TIMED_OUT: u8 = 124;
/// DoPQ, not the job's own code, ended the job.
pub(crate) const JOB_NOT_RUN: u8 = 125;
/// Interrupted by Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// The code for an error answer of the master.
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

/// The code of a finished job: the container's own, or [`JOB_NOT_RUN`] if DoPQ ended the job.
///
/// Only a job with the cause `succeeded` gives 0: a container that is stopped and exits with 0 did not succeed.
pub(crate) fn of_job(job: &Job) -> u8 {
    job.outcome.as_ref().map_or(JOB_NOT_RUN, of_outcome)
}

/// The code of a command that ran in a container.
pub(crate) fn of_command(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(JOB_NOT_RUN)
}

fn of_outcome(outcome: &Outcome) -> u8 {
    let own = outcome.exit_code.and_then(|code| u8::try_from(code).ok());
    match outcome.cause.as_str() {
        "succeeded" => DONE,
        // The container ran; its own code says most.
        "user_error" | "oom_host" | "oom_gpu" | "time_limit" | "idle_stopped" | "cancelled" => {
            own.filter(|code| *code != DONE).unwrap_or(JOB_NOT_RUN)
        }
        // DoPQ ended the job, also for causes added later.
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
