//! Why a leadership ended.

/// Why leading ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The process is asked to stop.
    #[error("this master is stopping")]
    Shutdown,
    /// The lease was not confirmed in time, or another master has it.
    #[error("the lease was not renewed in time")]
    LeaseLost,
    /// Another master has taken the lead.
    #[error("failed to {0}")]
    Fenced(String),
    /// The store is not where this master left it.
    #[error("failed to {0}")]
    OutOfSequence(String),
}
