//! The master's counters ([`Metrics`]) and the status of its parts ([`Board`]).
//!
//! `GET /metrics` and `GET /v1/status` show them. Figures that follow from the read model, such as jobs by state,
//! are computed when they are asked for.

mod board;
mod collect;
mod families;
mod gauges;
mod telemetry;
#[cfg(test)]
mod tests;

pub use board::{Board, Condition, Part, PartState};
pub use collect::{health_word, registry};
pub use families::Metrics;
