//! Whose turn it is: what users and groups are charged, floors, and the one order of waiting jobs.

pub(crate) mod account;
pub(crate) mod floor;
pub(crate) mod order;
pub(crate) mod ranks;
pub(crate) mod turn;
