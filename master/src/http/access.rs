//! Who may use a route, and how fast it answers.

use std::time::Duration;

use dopq_common::api::Role;

/// Time-out of answers that are not streams.
pub(super) const QUICK: Duration = Duration::from_secs(30);

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, without a token.
    Open,
    /// Operators; also clients on the loopback address without a token, if a setting allows it.
    Scrape,
    /// Everybody with at least this role; [`super::sight`] decides what they see of others' jobs.
    Role(Role),
    /// The owner of the job `{id}`, and everybody with at least this role.
    Job(Role),
    /// The user `{name}`, and everybody with at least this role.
    Account(Role),
    /// The worker that runs attempt `{attempt}`, by the attempt's token and the worker's key.
    Attempt,
    /// The same, and the worker that was told to expect the attempt, while its job waits.
    Bundle,
    /// Every worker with a key, by a proof for this `{nonce}`.
    Worker,
}

/// The time-out of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Within [`QUICK`].
    Quick,
    /// None while data flows.
    Stream,
    /// Quick; then the connection becomes a session, which has none.
    Session,
}

/// Which masters answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Every master.
    Any,
    /// The leader; others redirect to it.
    Leader,
}

/// A route's rule, checked before its handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) access: Access,
    pub(super) pace: Pace,
    pub(super) who: Who,
    /// Whether each use by a user leaves a line in the audit log; of a route that only reads, each use by somebody
    /// who does not own what is read.
    pub(super) audited: bool,
}
