//! Accounts: who a token or a password proves to be, and how tokens are made.
//!
//! Storing accounts is left to [`crate::store`], and what an account may do to [`crate::http`].

mod password;
mod token;
mod uses;

pub use password::{hash, matches};
pub use token::{Identified, TokenName, first_admin, identify, mint};
pub use uses::Uses;
