//! A run order that has been read: what the wire says, as the domain's types.

use crate::bundle;
use crate::id::UserName;
use crate::job::{BundleRef, ImageSource, JobSpec};
use crate::resources::Allocation;
use crate::wire::RunOrder;

/// All that is needed to run an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The order as it came, which is what is stored.
    pub order: RunOrder,
    /// Whose job it is.
    pub user: UserName,
    /// What was asked for.
    pub spec: JobSpec,
    /// The bundle, unless the job only names an image.
    pub bundle: Option<BundleRef>,
    /// What it may use.
    pub allocation: Allocation,
}

/// A run order that this agent does not understand; it is refused with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A name, a digest or a GPU breaks a rule.
    #[error("invalid order: {0}")]
    Id(#[from] crate::id::ParseIdError),
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
        let bundle = order.bundle.as_ref().map(BundleRef::try_from).transpose()?;
        if needs_bundle(&spec) && bundle.is_none() {
            return Err(Unreadable::NoBundle);
        }
        Ok(Self {
            user: order.user.parse()?,
            allocation: Allocation::try_from(&order.allocation)?,
            spec,
            bundle,
            order,
        })
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
