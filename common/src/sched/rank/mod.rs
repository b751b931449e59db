//! Whose turn it is: what users and groups are charged, floors, and the one order of queued jobs.

pub(crate) mod account;
pub(crate) mod charge;
pub(crate) mod floor;
pub(crate) mod next;
pub(crate) mod order;
pub(crate) mod ranks;
pub(crate) mod value;
