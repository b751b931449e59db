//! Accounts: who a token proves to be, and how tokens are made.
//!
//! Storing accounts is left to [`crate::store`], and what an account may do to [`crate::http`].

mod token;

pub use token::{Identified, TokenName, first_admin, identify, mint};
