//! What an image is made of.

use std::collections::BTreeMap;

use super::spec::{ImageSource, JobSpec};
use super::state::BundleRef;
use crate::id::{Digest, UserName};

/// What an image is made of. Jobs with equal keys share an image on a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageKey {
    /// It has this name, and the user may use it.
    Named {
        /// Whose job names it.
        user: UserName,
        /// The name.
        name: String,
    },
    /// It is built or loaded from a bundle.
    Made {
        /// Whose bundle.
        user: UserName,
        /// Which bundle.
        bundle: Option<Digest>,
        /// Values of the Dockerfile's `ARG`s.
        build_args: BTreeMap<String, String>,
    },
}

impl ImageKey {
    /// That of a job of `user`.
    #[must_use]
    pub fn of(user: &UserName, bundle: Option<BundleRef>, spec: &JobSpec) -> Self {
        let user = user.clone();
        match &spec.image {
            ImageSource::Named(name) => Self::Named {
                user,
                name: name.clone(),
            },
            ImageSource::Build | ImageSource::Load => Self::Made {
                user,
                bundle: bundle.map(|bundle| bundle.digest),
                build_args: spec.build_args.clone(),
            },
        }
    }
}
