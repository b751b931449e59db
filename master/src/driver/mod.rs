//! The one owner of the scheduler's state: gathers events, steps, commits, and only then acts.
//!
//! Other tasks hold a [`Handle`]. Reading is left to [`crate::view`], filling orders to
//! [`crate::dispatch`], and holding the lead to [`crate::leader`].

mod handle;

pub use handle::{Accepted, ActError, Handle, SubmitError};
