//! Whether a job may start, on which nodes it fits, where best, and from when on a node is reserved for it.

pub(crate) mod eligible;
pub(crate) mod fit_cache;
pub(crate) mod fits;
pub(crate) mod guard;
pub(crate) mod reserve;
pub(crate) mod score;
pub(crate) mod volumes;
