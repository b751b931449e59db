//! Which master, with which token: from flags, then the environment, then the project's `.dopq.toml`, then the user's
//! own file. All errors are reported at once.
//!
//! A project's file may name a master, but a token from elsewhere is not sent there. The files are read in [`mod@file`],
//! the precedence is in [`mod@resolve`].

mod error;
mod file;
mod resolve;
mod token;

pub(crate) use error::Error;
pub(crate) use file::{File, origin_of};
pub(crate) use resolve::{Environment, Flags, Settings, is_loopback, resolve};
pub(crate) use token::Token;
