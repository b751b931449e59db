//! The worker: the agent on one GPU machine.
//!
//! It fetches, builds and runs what the masters order, and reports what came of it. What is to be done
//! is decided by [`dopq_common::agent`], which is pure; everything here carries it out. [`run`] is the
//! whole of it, for the program and for the standalone master alike.

mod app;
mod checkpoint;
mod clock;
mod config;
mod data;
mod disk;
pub mod docker;
mod driver;
pub mod egress;
mod error;
mod fetch;
mod gpu;
mod handles;
mod host;
mod images;
mod input;
mod inventory;
mod keyed;
mod leftovers;
mod link;
mod live;
mod logs;
mod meters;
mod networks;
mod options;
mod outbox;
mod outdir;
mod pieces;
mod prepare;
pub mod program;
pub mod records;
mod remove;
mod results;
mod retention;
mod retry;
mod sample;
mod sessions;
mod standing;
mod upcoming;
mod volumes;

pub use app::run;
#[cfg(feature = "fake-engine")]
pub use app::run_on;
pub use error::Error;
pub use options::{
    BuildOptions, DockerOptions, GpuMode, GpuOptions, Limits, NetworkOptions, Options, Pull,
    Retention, Settings,
};
pub use volumes::{VolumeOptions, VolumeSetting, WorkspacePer};
