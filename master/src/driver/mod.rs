//! The only owner of the scheduler's state: gathers inputs, steps, commits, then acts.
//!
//! Other tasks hold a [`Handle`]. [`crate::view`] serves reads, [`crate::dispatch`] performs effects,
//! [`crate::leader`] holds the leadership.

mod batch;
mod commit;
mod handle;
mod input;
mod lead;
mod settle;

pub(crate) use commit::describe;
pub use handle::{Accepted, ActError, Handle, SubmitError, channel};
pub use input::Inputs;
pub use lead::{Ended, Parts, lead};

#[cfg(test)]
pub(crate) mod tests;
