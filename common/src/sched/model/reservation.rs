//! What is kept for the first job that cannot start.

use crate::id::{JobId, WorkerId};
use crate::time::Timestamp;

/// A node that is kept for a job from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The job.
    pub job: JobId,
    /// The node.
    pub worker: WorkerId,
    /// When enough will be free there at the latest, if jobs take no longer than expected or assumed.
    pub at: Timestamp,
    /// True when every end that it rests on is expected: then it is firm. False when one of them is only
    /// assumed: then it is dropped once another job ranks first.
    pub is_firm: bool,
}

/// The first job that cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A node is reserved for it.
    Reserved(Reservation),
    /// The whole queue waits for it ([`crate::sched::Backfill::Strict`]).
    Awaited(JobId),
    /// No reservation is possible, because no node that is up could run it. Checked at that time.
    Unreservable(JobId, Timestamp),
}

impl Blocked {
    /// The reservation, if there is one.
    #[must_use]
    pub const fn reservation(&self) -> Option<&Reservation> {
        match self {
            Self::Reserved(reservation) => Some(reservation),
            Self::Awaited(_) | Self::Unreservable(..) => None,
        }
    }
}
