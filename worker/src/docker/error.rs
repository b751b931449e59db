//! What can go wrong between the worker and the engine, told apart by what follows from it.

use std::time::Duration;

/// Whatever caused a failure; the library that speaks to the engine stays behind this module.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// A call to the engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container, image or network is not there.
    #[error("find it in the engine: {message}")]
    NotFound {
        /// The engine's words.
        message: String,
    },
    /// The name is taken by something else, or the container's state does not allow the call.
    #[error("change it in its present state: {message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// A container was to be created from an image that the engine lacks, or one was not found to be pulled.
    #[error("find the image: {message}")]
    ImageMissing {
        /// The engine's words.
        message: String,
    },
    /// The container's command cannot be run: not there, or not executable. The user's own fault.
    #[error("run the container's command: {message}")]
    Command {
        /// The shell's code for it: 127 when it is not there, 126 when it is not executable.
        exit_code: i32,
        /// The engine's words.
        message: String,
    },
    /// The engine's disk is full.
    #[error("write to the engine's disk: {message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// The engine did not answer in time; whether the call took effect is not known.
    #[error("get an answer to {call} within {}", seconds(*.after))]
    Deadline {
        /// The call.
        call: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// The engine is gone, or went away during the call; whether the call took effect is not known.
    #[error("reach the engine for {call}")]
    Unreachable {
        /// The call.
        call: &'static str,
        /// What the connection said.
        #[source]
        source: Source,
    },
    /// The engine refused or failed in another way.
    #[error("{call}: {message}")]
    Other {
        /// The call.
        call: &'static str,
        /// The engine's words.
        message: String,
    },
}

impl Error {
    /// Whether the call may have taken effect all the same: look before trying again.
    #[must_use]
    pub const fn is_uncertain(&self) -> bool {
        match self {
            Self::Deadline { .. } | Self::Unreachable { .. } => true,
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::ImageMissing { .. }
            | Self::Command { .. }
            | Self::DiskFull { .. }
            | Self::Other { .. } => false,
        }
    }
}

/// An image that was not built or loaded.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, or the archive, is at fault.
    #[error("build the image: {detail}")]
    Failed {
        /// The step, such as `step 3/5: RUN make`, where one had begun.
        step: Option<String>,
        /// One line: the step and what the engine said of it.
        detail: String,
    },
    /// The engine's disk is full.
    #[error("write the image to the engine's disk: {detail}")]
    DiskFull {
        /// The engine's words.
        detail: String,
    },
    /// It was called off.
    #[error("finish the build before it was cancelled")]
    Cancelled,
    /// It took longer than builds may.
    #[error("build within {}", seconds(*.after))]
    Deadline {
        /// The time allowed in all.
        after: Duration,
    },
    /// It printed nothing for longer than builds may be silent.
    #[error("hear from the build within {}", seconds(*.after))]
    Silent {
        /// The silence allowed.
        after: Duration,
    },
    /// The bundle could not be read.
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
