//! The HTTP face of a master: the control API under `/v1`, the workers' data plane under `/data/v1`,
//! health and metrics.
//!
//! It decides who may ask what and turns the read model into the API's words. What is to change goes
//! to the owner of the state as an event; nothing here keeps state of its own beyond limits and spools.

mod app;
mod router;
mod serve;

pub use app::{App, Settings};
pub use router::router;
pub use serve::serve;
