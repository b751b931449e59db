//! The container engine: the only module that speaks Docker's API.
//!
//! [`Engine`] is the port, with two adapters: [`Client`] over bollard and `Fake` in memory, for tests.
//! [`plan()`] is pure and decides what a container may do. Everything else calls the engine and classifies its errors.
//! The agent decides what to do about them.

mod body;
mod build;
mod cgroup;
mod client;
mod demux;
mod engine;
mod environment;
mod error;
mod events;
mod exec;
#[cfg(any(test, feature = "fake-engine"))]
pub mod fake;
mod images;
mod lifecycle;
mod logs;
mod mounts;
mod names;
mod namespace;
mod network;
mod plan;
mod plan_input;
mod raw;
mod registries;
mod shared_files;
mod signals;
mod stats;
mod types;
mod wait_program;

#[cfg(any(test, feature = "fake-engine"))]
pub use build::without_names;
pub use build::{BuildLimits, BuildNetwork, BuildRequest, Pull, SecretFiles};
pub(crate) use cgroup::Cgroup;
pub use client::Client;
pub use engine::Engine;
pub use error::{BuildError, Error, Source};
pub use exec::ExecState;
pub(crate) use exec::{Attached, Frames, belongs};
pub(crate) use images::plain_name;
pub use mounts::{HostFolder, MountError, PlanMount, WORKSPACE, WORKSPACE_ASIDE, job_folder};
pub use names::{BuildSpace, NameKey, loaded_name};
pub use namespace::{NETWORK_FILES, NetworkFiles, Traces, holder_image};
pub use network::Bridge;
pub use plan::{
    GpuAccess, JoinedNetwork, LABEL_ATTEMPT, LABEL_CLUSTER, LABEL_CONFIG, LABEL_DIGEST, LABEL_GPUS,
    LABEL_INSTANCE, LABEL_JOB, LABEL_USER, LABEL_WORKER, Plan, PlanError, PlanNetwork, Publish,
    RunSettings, UserPart, container_name, plan,
};
pub use plan_input::{CheckpointFolder, PlanInput};
pub use shared_files::{SharedFile, SharedFileError};
pub use types::{
    Builder, Container, Created, EngineInfo, Exit, ImageInfo, LogPiece, Signal, Status, Usage,
};
