//! A job: what was asked for ([`spec`]), where it stands ([`state`]) and how it ended ([`outcome`]).

mod array;
mod indexes;
mod outcome;
mod spec;
mod state;
mod sweep;

pub use array::{Array, Task, TaskEnds};
pub use indexes::{INDEXES_MAX, Indexes, ParseIndexesError};
pub use outcome::{Cause, Outcome, RetryRule};
pub use spec::{
    ArraySpec, Artifacts, Class, ContainerSpec, Dependency, DependencyKind, HealthCheck,
    ImageSource, JobSpec, Network, OnWorkerLoss, Ulimit,
};
pub use state::{
    Active, BundleRef, Finished, Hold, Job, JobState, Phase, Queued, StopReason, Transition,
};
pub use sweep::{Sweep, SweepAxis, SweepError};
