//! Turns the read model's values into the API's words.

mod details;
mod gpu;
mod group;
mod job;
mod limits;
mod node;
mod positions;
mod reason;
mod tasks;
mod usage;
mod used;
mod user;

pub(super) use gpu::gpus;
pub(super) use group::group;
pub(super) use job::{expected_start, job_page_item, job_with_timeline, queue_entry, waiting_task};
pub(super) use limits::guards;
pub(super) use node::{node, volumes};
pub(super) use positions::Positions;
pub(super) use tasks::{array_of, id_of, listed, owner, task, waiting_in};
pub(super) use usage::usage;
pub(super) use user::{Users, token};
