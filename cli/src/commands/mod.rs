//! The commands, one file each. A command calls the master through [`crate::client`], shows the answer through
//! [`crate::output`], and returns an exit code or a [`crate::failure::Failure`].

pub(crate) mod audit;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod completions;
mod context;
pub(crate) mod contexts;
pub(crate) mod control;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod fetch;
mod follow;
pub(crate) mod forward;
pub(crate) mod gpus;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod init;
mod jobs;
mod limits;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod node_keys;
pub(crate) mod nodes;
pub(crate) mod overrides;
mod progress;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod queue;
pub(crate) mod retry;
mod roles;
mod session;
pub(crate) mod show;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod usage;
mod user_import;
pub(crate) mod users;
pub(crate) mod wait;
mod when;

pub(crate) use context::Context;
