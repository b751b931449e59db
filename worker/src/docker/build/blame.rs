//! Decides whether the Dockerfile or the engine caused a failed build. After an engine's fault the job runs again.

use bollard::errors::Error as ApiError;

use super::progress::Progress;
use crate::docker::client::translate;
use crate::docker::error::{BuildError, Error};

/// The engine's prefix of a failed step's command, which is the user's text.
const STEP: &str = "The command '";

/// Prefixes of the engine's messages when something removed a layer during the build, such as `docker image prune`.
/// The message depends on the progress of the step.
const TAKEN_AWAY: [&str; 7] = [
    "No such image: sha256:",
    "failed to export image: failed to set parent sha256:",
    "failed to get destination image \"sha256:",
    "failed to get digest sha256:",
    "layer does not exist",
    "mount does not exist",
    "unknown parent image ID sha256:",
];

/// Other messages that no Dockerfile can cause.
const ENGINE_S_OWN: [&str; 6] = [
    "OCI runtime create failed",
    "failed to create shim",
    "failed to create endpoint",
    "failed to set up container networking",
    "error creating overlay mount",
    "containerd: ",
];

/// Distinguishes the Dockerfile's faults from the engine's.
pub(super) fn judge(call: &'static str, error: ApiError, progress: &Progress) -> BuildError {
    let own_words = match &error {
        ApiError::DockerStreamError { error } => Some(error.clone()),
        ApiError::DockerResponseServerError { message, .. } => Some(message.clone()),
        // Everything else is a fault of the connection.
        _ => None,
    };
    match (translate(call, error), own_words) {
        (Error::DiskFull { message }, _) => BuildError::DiskFull { detail: message },
        (error, None) => BuildError::Engine(error),
        (error, Some(words))
            if is_engine_s_own(&words) && !matches!(error, Error::Command { .. }) =>
        {
            BuildError::Engine(error)
        }
        (_, Some(words)) => BuildError::Failed {
            step: progress.step().map(str::to_owned),
            detail: progress.detail(&words),
        },
    }
}

/// Whether the build failed because a layer was removed, so that another try can succeed.
pub(super) fn is_taken_away(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Engine(Error::Other { message, .. }) if says_taken_away(message)
    )
}

fn is_engine_s_own(words: &str) -> bool {
    if words.starts_with(STEP) {
        return false;
    }
    says_taken_away(words) || ENGINE_S_OWN.iter().any(|own| words.contains(own))
}

fn says_taken_away(words: &str) -> bool {
    TAKEN_AWAY.iter().any(|start| words.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::super::partial::LastLayer;
    use super::*;

    /// The fault of a build that ended with this message.
    fn fault(words: &str) -> BuildError {
        let error = ApiError::DockerStreamError {
            error: words.to_owned(),
        };
        judge("build", error, &Progress::of_build(LastLayer::default()))
    }

    #[test]
    fn layers_that_were_removed_are_the_engines_fault_and_worth_another_try() {
        // Messages of an engine while images were removed during its builds.
        let id = format!("sha256:{}", "a1".repeat(32));
        let told = [
            format!("No such image: {id}"),
            format!(
                "failed to export image: failed to set parent {id}: unknown parent image ID {id}"
            ),
            format!("failed to get destination image \"{id}\": No such image: {id}"),
            format!(
                "failed to get digest {id}: open /var/lib/docker/image/overlay2/imagedb/content/sha256/a1: no such file or directory"
            ),
            "layer does not exist".to_owned(),
            "mount does not exist".to_owned(),
            format!("unknown parent image ID {id}"),
        ];
        for words in told {
            let fault = fault(&words);
            assert!(is_taken_away(&fault), "{words}: {fault:?}");
        }
    }

    #[test]
    fn other_faults_of_the_engine_are_not_tried_again_at_once() {
        let fault = fault(
            "failed to create endpoint: adding interface to bridge docker0 failed: exchange full",
        );
        assert!(matches!(fault, BuildError::Engine(_)), "{fault:?}");
        assert!(!is_taken_away(&fault), "{fault:?}");
    }

    #[test]
    fn no_command_of_a_dockerfile_can_pass_for_the_engine() {
        let told = [
            "The command '/bin/sh -c echo \"No such image: sha256:\"; exit 1' returned a non-zero code: 1",
            "The command '/bin/sh -c echo containerd: gone; exit 1' returned a non-zero code: 1",
            "COPY failed: file not found in build context: stat unknown parent image ID sha256:1: file does not exist",
        ];
        for words in told {
            let fault = fault(words);
            assert!(
                matches!(fault, BuildError::Failed { .. }),
                "{words}: {fault:?}"
            );
        }
    }
}
