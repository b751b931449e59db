//! Drives the core: gathers inputs, steps each, commits what changed, and only then acts.
//!
//! - [`owner`]: the one loop that owns the state
//! - [`context`]: what acts need
//! - [`checkpoint`]: what is done for `/checkpoint`
//! - [`perform`], [`create`] and [`finish`]: the acts, as tasks that send back what came of them
//! - [`prefetch`]: makes images ready for attempts that will probably come
//! - [`quotas`]: ends jobs whose user keeps too much

mod checkpoint;
mod context;
mod create;
mod finish;
mod observe;
mod owner;
mod perform;
pub(crate) mod prefetch;
pub(crate) mod quotas;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use context::{Context, Health};
pub(crate) use observe::seen;
pub(crate) use owner::{Driver, Running};
