//! What the scheduler talks about: entities, settings, events, effects, and the keys that order and group jobs.

pub(crate) mod demand;
pub(crate) mod effect;
pub(crate) mod entities;
pub(crate) mod event;
pub(crate) mod lane;
pub(crate) mod queue_key;
pub(crate) mod reservation;
pub(crate) mod settings;
pub(crate) mod shape;
pub(crate) mod text;
