//! The one owner of the scheduler's state: gathers inputs, steps, commits, and only then acts.
//!
//! Others hold a [`Handle`]. Reading is left to [`crate::view`], performing effects to
//! [`crate::dispatch`], and holding the lead to [`crate::leader`].

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
