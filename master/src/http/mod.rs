//! The HTTP face of a master: the control API under `/v1`, the workers' data plane under `/data/v1`,
//! health and metrics.
//!
//! It decides who may ask what and turns the read model into the API's words. What is to change goes
//! to the owner of the state as an event; nothing here keeps state of its own beyond limits and spools.
//!
//! - [`table`] holds every route with who may use it; [`guard`] enforces that
//! - [`routes`] answer; [`convert`] speaks the API's words
//! - [`observe`] and [`mod@serve`] are around them: ids, headers, time-outs, connections

mod app;
mod convert;
mod error;
mod extract;
mod forecasts;
mod guard;
mod limiter;
mod observe;
mod router;
mod routes;
mod serve;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod uploads;

pub use app::{App, Settings};
pub use router::router;
pub use serve::serve;
pub use tls::{Tls, TlsError};
