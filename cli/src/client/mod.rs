//! Speaks to the master: calls, redirects to the leader, repeats where that is safe, streams that go on
//! after a break.
//!
//! [`call`] sends one request; [`api`] has a function for each route; [`follow`] and [`watch`] keep
//! streams alive; [`retry`] knows every pause. Nothing here prints data.

mod api;
mod call;
mod error;
mod events;
mod expiry;
mod filters;
mod follow;
mod http;
mod probe;
mod retry;
mod session;
mod tls;
mod watch;

pub(crate) use call::Client;
pub(crate) use error::Error;
pub(crate) use filters::{AuditFilter, HistoryFilter, JobFilter, LogQuery, QueueFilter};
pub(crate) use follow::{Followed, LogFollower};
pub(crate) use session::Socket;
pub(crate) use watch::JobWatcher;
