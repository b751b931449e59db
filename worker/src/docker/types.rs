//! What the engine says of itself, of images and of containers, in the worker's own words.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use dopq_common::time::Timestamp;

/// What the engine is and can do, read at the worker's start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineInfo {
    /// The engine's version, such as `20.10.24`.
    pub version: String,
    /// The API version that was agreed on, such as `1.41`.
    pub api: String,
    /// Names of the OCI runtimes that it knows.
    pub runtimes: Vec<String>,
    /// Whether it injects devices from CDI specifications.
    pub cdi: bool,
    /// 1 or 2; 0 when the engine does not say.
    pub cgroup_version: u8,
    /// Log drivers that it has.
    pub log_drivers: Vec<String>,
    /// The storage driver, such as `overlay2`.
    pub storage_driver: String,
    /// Where it keeps images and containers; its disk is the one that fills.
    pub root_dir: PathBuf,
    /// Whether containers outlive a restart of the engine.
    pub live_restore: bool,
    /// Logical processors that it sees.
    pub cpus: u32,
    /// Memory of the machine that it sees, in bytes.
    pub memory_bytes: u64,
}

impl EngineInfo {
    /// Whether an OCI runtime of this name is configured.
    #[must_use]
    pub fn has_runtime(&self, name: &str) -> bool {
        self.runtimes.iter().any(|runtime| runtime == name)
    }
}

/// An image that the engine holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageInfo {
    /// `sha256:…`.
    pub id: String,
    /// Its names with tags.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// All its layers, in bytes.
    pub size_bytes: u64,
    /// The environment it sets, as `NAME=value`; empty in listings.
    pub env: Vec<String>,
}

/// The answer to a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The container's id.
    pub id: String,
    /// True when a container of this name, worker and attempt was there already.
    pub existed: bool,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Being restarted by the engine; DoPQ never asks for that.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Ended, and the engine could not clean it up.
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

/// A container as inspection shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name, without the engine's leading slash.
    pub name: String,
    /// Where it stands.
    pub status: Status,
    /// How its process ended; `None` unless it was started and has ended.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of it at the memory limit.
    pub oom_killed: bool,
    /// When it was started; `None` when never.
    pub started_at: Option<Timestamp>,
    /// When it ended; `None` when it has not.
    pub finished_at: Option<Timestamp>,
    /// Its labels, the image's included.
    pub labels: BTreeMap<String, String>,
    /// The process on the machine, while it runs.
    pub pid: Option<u32>,
    /// What the engine says went wrong at the start; empty when nothing did.
    pub error: String,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 128 and the signal's number for a process that a signal ended.
    pub code: i32,
}

/// What a container uses at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// CPU cores in use.
    pub cpu_cores: f64,
    /// Memory in use without reclaimable page cache, in bytes.
    pub memory_bytes: u64,
    /// The highest memory use seen, in bytes, where the engine tells.
    pub memory_peak_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
}

/// A piece of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// True for standard error; a terminal has standard output only.
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

    /// The named one, such as `SIGUSR1`, as a job's configuration gives it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
