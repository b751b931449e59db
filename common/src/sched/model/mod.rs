//! What the scheduler talks about: entities, settings, events, effects. Everything else imports from here.

pub(crate) mod effect;
pub(crate) mod entities;
pub(crate) mod event;
pub(crate) mod settings;
pub(crate) mod shape;
