//! What keeps a simulation from running.

use crate::id::ParseIdError;
use crate::sched::Rejected;

/// A run that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// A name that the simulation made up is none.
    #[error("invalid simulated name")]
    Name(#[from] ParseIdError),
    /// The scheduler refused what the simulation did.
    #[error("the scheduler refused a simulated event")]
    Rejected(#[from] Rejected),
}
