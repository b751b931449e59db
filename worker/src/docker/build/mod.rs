//! Makes images from bundles: builds the Dockerfile or loads the `image.tar`.
//!
//! Uses Docker's classic builder: it needs no session with the client and no frontend from a registry. The agent
//! decides when to build and what a failure means for a job.

mod blame;
mod context;
mod ignore;
mod image_tar;
mod load;
mod partial;
mod progress;
mod run;

#[cfg(any(test, feature = "fake-engine"))]
pub(super) use run::bounded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::resources::{ByteSize, MilliCpu};

/// The limits of every build and load; worker settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLimits {
    /// Memory of a build step, swap included.
    pub memory: ByteSize,
    /// CPU of a build step.
    pub cpu: MilliCpu,
    /// The network of build steps: `none`, or the name of a network such as `bridge`.
    pub network: String,
    /// Time-out of the whole build.
    pub total: Duration,
    /// Time-out without output; sending the context counts as output.
    pub silent: Duration,
    /// Largest image.
    pub image: ByteSize,
    /// Limits of the bundle. Size, entries and ratio are unlimited by default: the masters checked them, and the digest
    /// proves that it is that bundle.
    pub bundle: dopq_common::bundle::Limits,
}

impl Default for BuildLimits {
    /// 8 GiB and 4 cores for a step, the engine's default bridge, an hour, 20 minutes of silence, 100 GiB.
    fn default() -> Self {
        Self {
            memory: ByteSize(8 * ByteSize::GIB),
            cpu: MilliCpu(4000),
            network: "bridge".to_owned(),
            total: Duration::from_secs(3600),
            silent: Duration::from_secs(20 * 60),
            image: ByteSize(100 * ByteSize::GIB),
            bundle: dopq_common::bundle::Limits {
                compressed_bytes: u64::MAX,
                expanded_bytes: u64::MAX,
                entries: u64::MAX,
                ratio: u64::MAX,
                ..dopq_common::bundle::Limits::default()
            },
        }
    }
}

/// An image to build or load from a bundle on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The image's name from [`image_tag`](super::image_tag). The part before the colon belongs to the user and selects
    /// the cached layers.
    pub tag: String,
    /// Labels of the image; those of the DoPQ cluster, user and digest.
    pub labels: BTreeMap<String, String>,
    /// The bundle's zip.
    pub bundle: PathBuf,
    /// The build's limits.
    pub limits: BuildLimits,
}
