//! What a master tells the agent to do with an attempt.

use std::sync::Arc;
use std::time::Duration;

use crate::job::Outcome;

use super::run::{Run, Unreadable};

/// What a master tells the agent to do with an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Take it on; an order that cannot be read is refused.
    Run(Result<Arc<Run>, Unreadable>),
    /// End it.
    Stop {
        /// How it is to be reported once ended.
        outcome: Outcome,
        /// Between SIGTERM and SIGKILL.
        grace: Duration,
    },
    /// Freeze its container.
    Pause,
    /// Thaw its container.
    Unpause,
    /// Its end is committed, or it is stale: forget it.
    Forget,
}
