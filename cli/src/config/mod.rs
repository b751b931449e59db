//! Which master, with which token: flags, then the environment, then the project's `.dopq.toml`, then
//! the user's own file. All mistakes are told at once.
//!
//! A token goes only where its owner meant it to go: a project's file may name a master, but it cannot
//! send there a token that came from elsewhere. The form of the files is in [`mod@file`], the precedence
//! in [`mod@resolve`].

mod file;
mod mistake;
mod resolve;
mod token;

pub(crate) use file::{UserFile, origin_of};
pub(crate) use mistake::Mistake;
pub(crate) use resolve::{Environment, Flags, Settings, is_loopback, resolve};
pub(crate) use token::Token;
