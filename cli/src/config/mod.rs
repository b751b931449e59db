//! Which master, with which token: from flags, then the environment, then the project's `.dopq.toml`, then the user's
//! own file. All errors are reported at once.
//!
//! A context is a name for a master in the user's own file. A project's file may name a master or a context, but a
//! token from elsewhere is not sent there. The files are read in [`mod@file`] and changed in [`mod@edit`], the precedence
//! is in [`mod@resolve`].

mod address;
mod edit;
mod error;
mod file;
mod resolve;
mod token;

pub(crate) use address::{is_loopback, origin_of, parse_url};
pub(crate) use edit::{add_context, forget_login, remove_context, save_login, use_context};
pub(crate) use error::Error;
pub(crate) use file::{File, Master, context_name};
pub(crate) use resolve::{Environment, Flags, Settings, Source, resolve, user_file};
pub(crate) use token::Token;
