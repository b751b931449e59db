//! The master's HTTP server: the control API under `/v1`, the workers' data plane under `/data/v1`,
//! health and metrics.
//!
//! It checks permissions and converts the read model to the API's types. Changes go to the owner of the state as
//! events. The only state here are limits and spools.
//!
//! - [`table`] lists every route and who may use it; [`guard`] enforces it
//! - [`routes`] has the handlers; [`convert`] the conversions to the API's types
//! - [`audited`] sees that changes and privileged accesses leave a line in the audit log
//! - [`sight`] decides what a caller sees of another's job
//! - [`observe`] and [`mod@serve`] add ids, headers, time-outs and connections

mod access;
mod addresses;
mod app;
mod audited;
mod caller;
mod convert;
mod error;
mod extract;
mod forecasts;
mod guard;
mod limiter;
mod logins;
mod observe;
mod relay;
mod router;
mod routes;
mod serve;
mod sight;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod trail;
mod uploads;
mod watched;

pub use app::{App, Settings};
pub use router::router;
pub use serve::serve;
pub use tls::{Tls, TlsError};
