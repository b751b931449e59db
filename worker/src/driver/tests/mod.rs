//! The whole worker with a pretended engine, an in-process broker and a small data plane.

mod checkpoint_store;
mod checkpoints;
mod disks;
mod networks;
mod panics;
mod plane;
mod prefetch;
mod results;
mod retention;
mod rig;
mod stops;
mod usage;
mod volumes;
mod ways;
