//! The container engine: the only module that speaks Docker's API.
//!
//! [`Engine`] is the port, with two adapters: [`Client`] over bollard and [`Fake`](fake::Fake) in memory.
//! [`plan()`] decides what a container may be, purely; everything else here asks the engine and tells
//! errors apart by what follows from them. What to do about them is left to the worker's core.

mod body;
mod build;
mod client;
mod demux;
mod engine;
mod environment;
mod error;
mod events;
pub mod fake;
mod images;
mod lifecycle;
mod logs;
mod mounts;
mod network;
mod plan;
mod stats;
mod types;

pub use build::{BuildLimits, BuildRequest};
pub use client::Client;
pub use engine::Engine;
pub use error::{BuildError, Error, Source};
pub use mounts::{HostFolder, MountError};
pub use plan::{
    GpuAccess, LABEL_ATTEMPT, LABEL_CLUSTER, LABEL_CONFIG, LABEL_DIGEST, LABEL_GPUS, LABEL_JOB,
    LABEL_USER, LABEL_WORKER, Plan, PlanError, PlanInput, PlanMount, PlanNetwork, RunSettings,
    UserPart, container_name, image_tag, plan,
};
pub use types::{Container, Created, EngineInfo, Exit, ImageInfo, LogPiece, Signal, Status, Usage};
