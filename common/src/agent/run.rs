//! A run order with its configuration read.

use serde::{Serialize, Serializer};

use crate::bundle;
use crate::job::{ImageSource, JobSpec};
use crate::wire::RunOrder;

/// All that is needed to run an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The order as it came, which is what is stored.
    pub order: RunOrder,
    /// What was asked for.
    pub spec: JobSpec,
}

impl Serialize for Run {
    /// Written as the order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.order.serialize(serializer)
    }
}

/// A run order that this agent does not understand; it is refused with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A name, a digest or a GPU breaks a rule, or something is missing.
    #[error("invalid order: {0}")]
    Shape(String),
    /// The configuration does not hold.
    #[error("invalid job configuration: {0}")]
    Config(String),
    /// The image is to be made from a bundle that the order does not name.
    #[error("the order names no bundle to build the image from")]
    NoBundle,
}

impl Run {
    /// Reads an order.
    ///
    /// # Errors
    /// [`Unreadable`] when a part of it does not hold.
    pub fn read(order: RunOrder) -> Result<Self, Unreadable> {
        let spec = bundle::config::parse(&order.config).map_err(|faults| {
            let faults = faults.iter().map(|fault| fault.message.as_str());
            Unreadable::Config(faults.collect::<Vec<_>>().join("; "))
        })?;
        if needs_bundle(&spec) && order.bundle.is_none() {
            return Err(Unreadable::NoBundle);
        }
        Ok(Self { order, spec })
    }

    /// Whether the image is made from the bundle.
    pub(super) const fn needs_bundle(&self) -> bool {
        needs_bundle(&self.spec)
    }
}

const fn needs_bundle(spec: &JobSpec) -> bool {
    match spec.image {
        ImageSource::Build | ImageSource::Load => true,
        ImageSource::Named(_) => false,
    }
}
