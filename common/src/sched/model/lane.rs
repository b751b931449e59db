//! Lanes: the jobs of one user that need the same and are expected to run as long.

use std::time::Duration;

use crate::job::JobSpec;
use crate::sched::model::shape::ShapeId;

/// Jobs of one user with equal requests whose length is found in the same way. Within a lane whoever was submitted
/// first has waited longest, so only the first job of each lane has to be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) shape: ShapeId,
    pub(crate) length: Length,
}

/// How the length of a queued job is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Length {
    /// By its `time_request`, no more than its `time_limit`.
    Requested(Duration),
    /// By earlier runs of the same name, else by its `time_limit`, else by the assumed run time.
    Learned {
        name: Box<str>,
        limit: Option<Duration>,
    },
}

impl Lane {
    /// What no lane of the shape goes before.
    pub(crate) const fn first_of(shape: ShapeId) -> Self {
        let length = Length::Requested(Duration::ZERO);
        Self { shape, length }
    }

    pub(crate) fn of(shape: ShapeId, spec: &JobSpec) -> Self {
        let length = match spec.time_request {
            Some(request) => {
                Length::Requested(spec.time_limit.map_or(request, |limit| limit.min(request)))
            }
            None => Length::Learned {
                name: spec.name.as_str().into(),
                limit: spec.time_limit,
            },
        };
        Self { shape, length }
    }
}
