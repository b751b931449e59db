//! Errors of the engine, distinguished by how to handle them.

use std::time::Duration;

/// The source of an error; hides the Docker library.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failed call to the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container, image or network does not exist.
    #[error("find it in the engine: {message}")]
    NotFound {
        /// The engine's message.
        message: String,
    },
    /// The name is taken, or the container's state does not allow the call.
    #[error("change it in its present state: {message}")]
    Conflict {
        /// The engine's message.
        message: String,
    },
    /// The engine lacks the image of a container, or the image to pull was not found.
    #[error("find the image: {message}")]
    ImageMissing {
        /// The engine's message.
        message: String,
    },
    /// The container's command is missing or not executable. The user's fault.
    #[error("run the container's command: {message}")]
    Command {
        /// The shell's code for it: 127 if it is missing, 126 if it is not executable.
        exit_code: i32,
        /// The engine's message.
        message: String,
    },
    /// The container did not start, because the container whose network it joins does not run.
    #[error("join the network made for the container: {message}")]
    NetworkGone {
        /// The engine's message.
        message: String,
    },
    /// The engine refuses what the job asks of its container, such as an unknown user. The user's fault.
    #[error("give the container what the job asks for: {message}")]
    Refused {
        /// The engine's message.
        message: String,
    },
    /// The engine's disk is full.
    #[error("write to the engine's disk: {message}")]
    DiskFull {
        /// The engine's message.
        message: String,
    },
    /// The engine did not answer in time. The call may have taken effect.
    #[error("get an answer to {call} within {}", seconds(*.after))]
    Deadline {
        /// The call.
        call: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The engine is gone, or went away during the call. The call may have taken effect.
    #[error("reach the engine for {call}")]
    Unreachable {
        /// The call.
        call: &'static str,
        /// The connection's error.
        #[source]
        source: Source,
    },
    /// Another failure of the engine.
    #[error("{call}: {message}")]
    Other {
        /// The call.
        call: &'static str,
        /// The engine's message.
        message: String,
    },
}

impl Error {
    /// Whether the call may have taken effect: inspect before trying again.
    #[must_use]
    pub const fn is_uncertain(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Unreachable { .. } => true,
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::ImageMissing { .. }
            | Self::Command { .. }
            | Self::Refused { .. }
            | Self::NetworkGone { .. }
            | Self::DiskFull { .. }
            | Self::Other { .. } => false,
        }
    }
}

/// Why building or loading an image failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile or the archive is wrong.
    #[error("build the image: {detail}")]
    Failed {
        /// The step, such as `[3/5] RUN make`, if one failed.
        step: Option<String>,
        /// One line: the step and the engine's message.
        detail: String,
    },
    /// A registry did not answer, or not as one.
    #[error("get an image from its registry: {detail}")]
    Registry {
        /// One line: the step and the engine's message.
        detail: String,
    },
    /// The engine is too old for BuildKit, or is another program.
    #[error("build the image: this engine has no BuildKit; jobs need an `image`")]
    NoBuildKit,
    /// The engine's disk is full.
    #[error("write the image to the engine's disk: {detail}")]
    DiskFull {
        /// The engine's message.
        detail: String,
    },
    /// It was cancelled.
    #[error("finish the build before it was cancelled")]
    Cancelled,
    /// It exceeded the time limit.
    #[error("build within {}", seconds(*.after))]
    Deadline {
        /// The time allowed in all.
        after: Duration,
    },
    /// It printed nothing for too long.
    #[error("hear from the build within {}", seconds(*.after))]
    Silent {
        /// The allowed time without output.
        after: Duration,
    },
    /// This machine failed to read the bundle.
    #[error("read the bundle")]
    Bundle(#[source] Source),
    /// The engine failed.
    #[error("use the engine")]
    Engine(#[from] Error),
}

/// Durations in messages: whole seconds, or milliseconds below one.
fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", duration.as_secs())
    }
}
