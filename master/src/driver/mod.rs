//! The only owner of the scheduler's state: gathers inputs, steps, commits, then acts.
//!
//! Other tasks hold a [`Handle`]. [`crate::view`] serves reads, [`crate::dispatch`] performs effects,
//! [`crate::leader`] holds the leadership.

mod answer;
mod batch;
mod commit;
mod ended;
mod handle;
mod input;
mod lead;
mod settle;

pub use answer::{Accepted, ActError};
pub use ended::Ended;
pub use handle::{Handle, channel};
pub use input::Inputs;
pub use lead::{Parts, lead};

#[cfg(test)]
pub(crate) mod tests;
