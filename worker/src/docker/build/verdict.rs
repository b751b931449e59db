//! Decides whether the Dockerfile, a registry or the engine caused a failed build. After the latter two the job runs
//! again.
//!
//! It goes by what BuildKit says of itself: which step failed, and how its message begins or ends. What a user's
//! program prints is no part of that message, and what a user writes stands in its middle.

use super::trace::{METADATA, Step, Trace};
use crate::docker::error::{BuildError, Error};

const CALL: &str = "build";

/// BuildKit's begin of the names of steps that are no instruction.
const INTERNAL: &str = "[internal] ";

/// The step that reads the Dockerfile.
const DEFINITION: &str = "[internal] load build definition";

/// Ends of a registry's answers that the user can mend. Any other failure to get an image is of the network.
const REFUSALS: [&str; 10] = [
    ": not found",
    "manifest unknown",
    "name unknown",
    "insufficient_scope: authorization failed",
    "authorization failed",
    "no basic auth credentials",
    ": 401 Unauthorized",
    ": 403 Forbidden",
    "no match for platform in manifest",
    ": access denied",
];

/// Begins of the messages of a `RUN` whose program could not be started by the engine's fault. Those of programs begin
/// with `executor failed` or `process "`.
const ENGINE_S_OWN: [&str; 6] = [
    "failed to create endpoint",
    "failed to create network",
    "failed to create shim",
    "failed to mount",
    "failed to get network",
    "error creating overlay mount",
];

/// Ends of messages of a full disk: the kernel's words, which Go puts last.
const DISK_FULL: [&str; 2] = [": no space left on device", ": disk quota exceeded"];

/// What engines put before the frontend's own words.
const FRONTEND: [&str; 2] = [
    "failed to solve with frontend dockerfile.v0: ",
    "failed to create LLB definition: ",
];

/// Begins and ends of messages of a build that lost the engine or its session, or was stopped.
const CUT_OFF: [&str; 3] = [
    "no active session",
    "rpc error: code = Unavailable",
    "rpc error: code = Canceled",
];
const CUT_OFF_ENDS: [&str; 4] = [
    "context canceled",
    "context deadline exceeded",
    "transport is closing",
    "error reading from server: EOF",
];

/// Exit code after SIGKILL.
const KILLED: &str = "137";

/// Says what an error of the engine means, given the progress so far.
pub(super) fn judge(message: &str, trace: &Trace) -> BuildError {
    match trace.failed() {
        Some(step) => judge_step(step),
        // The Dockerfile was read and no step failed: it cannot be made into steps.
        None if trace.has_done(DEFINITION) => {
            let words = FRONTEND.iter().fold(message, |words, begin| {
                words.strip_prefix(begin).unwrap_or(words)
            });
            let is_cut_off = CUT_OFF.iter().any(|begin| words.starts_with(begin))
                || CUT_OFF_ENDS.iter().any(|end| words.ends_with(end));
            match is_cut_off {
                true => engine(message),
                false => failed(None, words),
            }
        }
        None => engine(message),
    }
}

/// The end of a build whose base image this machine lacks and does not pull.
pub(super) fn unpulled(base: &str) -> BuildError {
    let step = format!("{METADATA}{base}");
    failed(Some(&step), "this machine lacks it and pulls none")
}

/// Says that a build was ended at a step that fetches from the machine's network.
pub(super) fn remote(step: &str) -> BuildError {
    let why = "builds fetch over their own network only; fetch it with RUN";
    failed(Some(step), why)
}

/// Says what the engine's message about an image archive means.
pub(super) fn judge_archive(message: &str) -> BuildError {
    if DISK_FULL.iter().any(|end| message.ends_with(end)) {
        return engine(message);
    }
    failed(None, &format!("image.tar: {message}"))
}

fn judge_step(step: &Step) -> BuildError {
    let error = step.error.trim();
    if let Some(code) = exit_code(error) {
        let what = match code {
            KILLED => format!("exit code {KILLED} (killed)"),
            code => format!("exit code {code}"),
        };
        return failed(Some(&step.name), &what);
    }
    if DISK_FULL.iter().any(|end| error.ends_with(end)) {
        return BuildError::DiskFull {
            detail: format!("{}: {error}", step.name),
        };
    }
    let is_image = step.name.starts_with(METADATA) || is_from(&step.name);
    if is_image {
        return match REFUSALS.iter().any(|end| error.ends_with(end)) {
            true => failed(Some(&step.name), error),
            false => BuildError::Registry {
                detail: format!("{}: {error}", step.name),
            },
        };
    }
    let is_instruction = step.name.starts_with('[') && !step.name.starts_with(INTERNAL);
    if is_instruction && !ENGINE_S_OWN.iter().any(|begin| error.starts_with(begin)) {
        return failed(Some(&step.name), error);
    }
    engine(&format!("{}: {error}", step.name))
}

/// The exit code of a step's program, which ends BuildKit's message about it.
fn exit_code(error: &str) -> Option<&str> {
    let (_, code) = error.rsplit_once("exit code: ")?;
    (!code.is_empty() && code.bytes().all(|b| b.is_ascii_digit())).then_some(code)
}

/// Whether a step gets an image: `[build 1/4] FROM image`, or `FROM image` for `COPY --from`.
fn is_from(name: &str) -> bool {
    let instruction = match name.starts_with('[') {
        true => name.split_once("] ").map(|(_, instruction)| instruction),
        false => Some(name),
    };
    instruction.is_some_and(|instruction| instruction.starts_with("FROM "))
}

fn failed(step: Option<&str>, what: &str) -> BuildError {
    let what = what.trim().replace('\n', " ");
    BuildError::Failed {
        step: step.map(str::to_owned),
        detail: match step {
            Some(step) => format!("{step}: {what}"),
            None => what,
        },
    }
}

fn engine(message: &str) -> BuildError {
    if DISK_FULL.iter().any(|end| message.ends_with(end)) {
        return BuildError::DiskFull {
            detail: message.to_owned(),
        };
    }
    BuildError::Engine(Error::Other {
        call: CALL,
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Timestamp;
    use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};

    use super::*;

    fn step(name: &str, error: &str) -> Vertex {
        let now = Some(Timestamp::default());
        Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            error: error.to_owned(),
            started: now,
            completed: now,
            ..Vertex::default()
        }
    }

    /// What a build means that ended with this message after these steps.
    fn verdict(steps: &[(&str, &str)], message: &str) -> BuildError {
        let mut trace = Trace::default();
        trace.take(StatusResponse {
            vertexes: steps
                .iter()
                .map(|(name, error)| step(name, error))
                .collect(),
            ..StatusResponse::default()
        });
        judge(message, &trace)
    }

    #[test]
    fn what_a_user_writes_or_prints_is_the_users() {
        for (name, error, detail) in [
            (
                "[2/3] RUN echo \": no space left on device\"; false",
                "executor failed running [/bin/sh -c echo \": no space left on device\"; false]: exit code: 1",
                "exit code 1",
            ),
            (
                "[2/3] RUN make",
                "process \"/bin/sh -c make\" did not complete successfully: exit code: 137",
                "exit code 137 (killed)",
            ),
            (
                "[2/3] COPY failed to create endpoint /",
                "failed to compute cache key: \"/failed to create endpoint\" not found: not found",
                "not found",
            ),
            (
                "[2/3] RUN x",
                "unable to find user nobody: no matching entries in passwd file",
                "nobody",
            ),
            (
                "[internal] load metadata for docker.io/library/nope:latest",
                "docker.io/library/nope:latest: not found",
                "not found",
            ),
            (
                "[internal] load metadata for docker.io/a/b:latest",
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                "authorization failed",
            ),
            (
                "[a 1/2] FROM x@sha256:0",
                "x@sha256:0: not found",
                "not found",
            ),
        ] {
            match verdict(&[(name, error)], "rpc error") {
                BuildError::Failed { step, detail: told } => {
                    assert_eq!(step.as_deref(), Some(name));
                    assert!(told.contains(detail), "{told}");
                }
                other => panic!("{error}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_dockerfile_that_makes_no_steps_is_the_users() {
        let read = ("[internal] load build definition from Dockerfile", "");
        let judged = verdict(
            &[read],
            "dockerfile parse error line 2: unknown instruction: X",
        );
        assert!(
            matches!(judged, BuildError::Failed { step: None, .. }),
            "{judged:?}"
        );
        for message in [
            "failed to solve: Canceled: context canceled",
            "failed to create LLB definition: no active session for x: context deadline exceeded",
            "rpc error: code = Unavailable desc = transport is closing",
            "write /x: no space left on device",
        ] {
            let judged = verdict(&[read], message);
            let is_the_users = matches!(judged, BuildError::Failed { .. });
            assert_eq!(is_the_users, message.starts_with("write"), "{message}");
        }
        let unread = verdict(&[], "no active session for x: context deadline exceeded");
        assert!(matches!(unread, BuildError::Engine(_)), "{unread:?}");
    }

    #[test]
    fn registries_disks_and_the_engine_are_nobodys() {
        let metadata = "[internal] load metadata for docker.io/library/x:latest";
        let registry = verdict(
            &[(
                metadata,
                "failed to do request: Head \"https://x\": dial tcp: lookup x: no such host",
            )],
            "",
        );
        assert!(
            matches!(registry, BuildError::Registry { .. }),
            "{registry:?}"
        );
        let copied = verdict(&[("FROM 127.0.0.1:9/x:1", "dial tcp: refused")], "");
        assert!(matches!(copied, BuildError::Registry { .. }), "{copied:?}");
        for (name, error) in [
            (
                "[2/3] COPY a b",
                "failed to copy files: write /x/a: no space left on device",
            ),
            ("exporting to image", "write /x: disk quota exceeded"),
        ] {
            let disk = verdict(&[(name, error)], "");
            assert!(matches!(disk, BuildError::DiskFull { .. }), "{disk:?}");
        }
        for (name, error) in [
            (
                "[2/3] RUN x",
                "failed to create endpoint a on network bridge: full",
            ),
            (
                "[internal] load build context",
                "rpc error: code = Unavailable",
            ),
            ("exporting to image", "no such layer"),
        ] {
            let engine = verdict(&[(name, error)], "");
            assert!(matches!(engine, BuildError::Engine(_)), "{engine:?}");
        }
    }
}
