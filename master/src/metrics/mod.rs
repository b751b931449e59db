//! What the master counts ([`Metrics`]) and how its parts are doing ([`Board`]).
//!
//! Whoever does something counts it here; `GET /metrics` and `GET /v1/status` show it. Figures that
//! follow from the read model, such as jobs by state, are taken from it when somebody asks.

mod board;
mod collect;
mod families;
#[cfg(test)]
mod tests;

pub use board::{Board, Condition, Part, PartState};
pub use collect::{health_word, registry};
pub use families::Metrics;
