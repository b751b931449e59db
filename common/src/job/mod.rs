//! A job: what was asked for ([`spec`]), where it stands ([`state`]), how it ended ([`outcome`]) and what that
//! cost ([`charge`]).

mod array;
mod charge;
mod hold;
mod image;
mod indexes;
mod outcome;
mod results;
mod spec;
mod state;
mod sweep;
mod timeline;

pub use array::{Array, Task, TaskEnds};
pub(crate) use charge::write_down;
pub use charge::{Charge, ChargeEnd};
pub use hold::Hold;
pub use image::ImageKey;
pub use indexes::{INDEXES_MAX, Indexes, ParseIndexesError};
pub use outcome::{CHECKPOINTED, Cause, Outcome, RetryRule};
pub use results::{LeftOut, NAMED_MAX, Results};
pub use spec::{
    ArraySpec, Artifacts, Class, ContainerSpec, Dependency, DependencyKind, HealthCheck,
    ImageSource, JobSpec, Network, OnWorkerLoss, Outdir, Port, Ulimit,
};
pub use state::{
    Active, BundleRef, Expected, ExpectedBy, Finished, Job, JobState, Queued, Stage, StopReason,
};
pub use sweep::{ENV_NAME_RULE, Sweep, SweepAxis, SweepError, is_env_name};
pub use timeline::{Phase, TIMELINE_MAX, Transition};
