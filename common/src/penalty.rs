//! How much a user has had lately; the lower, the sooner their next job runs.
