//! The worker's types for the engine, images and containers.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use dopq_common::telemetry::Io;
use dopq_common::time::Timestamp;

/// The engine's properties, read at the worker's start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// The engine's version, such as `20.10.24`.
    pub version: String,
    /// The negotiated API version, such as `1.41`.
    pub api: String,
    /// Names of its OCI runtimes.
    pub runtimes: Vec<String>,
    /// What it builds with.
    pub builder: Builder,
    /// Whether it injects devices from CDI specifications.
    pub cdi: bool,
    /// Whether a container can join the network of another without sharing more with it.
    pub shares_networks: bool,
    /// Logical processors.
    pub cpus: u32,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
}

/// What an engine builds with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Builder {
    /// No BuildKit: Docker before 18.09, or another program.
    #[default]
    Absent,
    /// A BuildKit whose built-in frontend knows no here-documents: Docker up to 20.10.
    Old,
    /// A newer one.
    Current,
}

impl EngineInfo {
    /// Whether an OCI runtime of this name is configured.
    #[must_use]
    pub fn has_runtime(&self, name: &str) -> bool {
        self.runtimes.iter().any(|runtime| runtime == name)
    }
}

/// An image of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageInfo {
    /// `sha256:…`.
    pub id: String,
    /// Its names with tags; when inspected, also those with digests.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// All its layers, in bytes.
    pub size_bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The environment it sets, as `NAME=value`; empty in listings.
    pub env: Vec<String>,
    /// Where its commands begin; empty in listings.
    pub working_dir: String,
}

/// The answer to a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The container's id.
    pub id: String,
    /// True if a container of this name, worker and attempt existed already.
    pub existed: bool,
}

/// A container's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Being restarted by the engine; DoPQ never asks for that.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Ended, but the engine could not clean it up.
    Dead,
}

impl Status {
    /// Whether its process may still be alive.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        match self {
            Self::Running | Self::Paused | Self::Restarting => true,
            Self::Created | Self::Removing | Self::Exited | Self::Dead => false,
        }
    }
}

/// An inspected container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without the engine's leading slash.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// How its process ended; `None` until then.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed one of its processes at the memory limit.
    pub oom_killed: bool,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// When it ended, if it did.
    pub finished_at: Option<Timestamp>,
    /// Its labels, the image's included.
    pub labels: BTreeMap<String, String>,
    /// The process on the machine, while it runs.
    pub pid: Option<u32>,
    /// The engine's error at the start; empty if none.
    pub error: String,
    /// The id of its image.
    pub image: String,
    /// The id of the container whose network it joins.
    pub joins: Option<String>,
    /// Its published ports, such as `8888/tcp`, each with where it is reached, such as `10.1.2.3:49153`.
    pub published: Vec<(String, String)>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 + number for a signal.
    pub code: i32,
}

/// A container's present resource usage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// CPU cores in use.
    pub cpu_cores: f64,
    /// Memory in use without reclaimable page cache, in bytes.
    pub memory_bytes: u64,
    /// Peak memory use in bytes, if the engine reports it.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// What it has read and written since its start.
    pub io: Io,
}

/// A piece of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// True for standard error. A terminal has only standard output.
    pub stderr: bool,
    /// When it was printed; for a terminal, when it was read.
    pub at: Timestamp,
    /// The bytes as printed.
    pub bytes: Bytes,
}

/// A signal that DoPQ sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal(String);

impl Signal {
    /// Ends a process at once.
    #[must_use]
    pub fn kill() -> Self {
        Self("SIGKILL".to_owned())
    }

    /// Asks a process to end.
    #[must_use]
    pub fn term() -> Self {
        Self("SIGTERM".to_owned())
    }

    /// A named one from a job's configuration, such as `SIGUSR1`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its number on Linux; `None` for a real-time signal.
    pub(super) fn number(&self) -> Option<u32> {
        const NAMES: [&str; 31] = [
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
            "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN",
            "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
        ];
        let upper = self.0.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = NAMES.iter().zip(1..).find(|(known, _)| **known == name);
        let number = known
            .map(|(_, number)| number)
            .or_else(|| name.parse().ok());
        number.filter(|number| (1..=31).contains(number))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_numbers_of_the_kernel() {
        for (name, number) in [
            ("SIGTERM", Some(15)),
            ("sigint", Some(2)),
            ("USR1", Some(10)),
            ("9", Some(9)),
            ("SIGSYS", Some(31)),
            ("SIGRTMIN+3", None),
            ("34", None),
            ("0", None),
            ("nonsense", None),
        ] {
            assert_eq!(Signal::named(name).number(), number, "{name}");
        }
    }
}
