//! Makes images from bundles: builds the Dockerfile or loads the `image.tar`.
//!
//! BuildKit in the engine builds, over a session on which it asks for files, secrets and registry logins. Nothing is
//! unpacked on disk. The agent decides when to build and what a failure means for a job.

mod context;
mod image_tar;
mod load;
mod logins;
mod pieces;
mod secrets;
mod session;
mod solve;
mod trace;
mod transfer;
mod tree;
mod verdict;

pub use secrets::SecretFiles;
#[cfg(any(test, feature = "fake-engine"))]
pub(super) use solve::bounded;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::resources::ByteSize;
use dopq_common::settings::Named;

use super::names::BuildSpace;

/// Copies an `image.tar` as it is loaded; for fuzz tests.
///
/// # Errors
/// Why it is refused.
#[cfg(any(test, feature = "fake-engine"))]
pub fn without_names(
    archive: &mut dyn std::io::Read,
    to: &mut dyn std::io::Write,
) -> Result<(), String> {
    image_tar::copy(archive, to).map_err(|error| error.to_string())
}

/// The network of build steps. BuildKit has the engine's default bridge, the machine's own network and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildNetwork {
    /// [`Self::Internet`] where it can be enforced and concerns nobody else, otherwise [`Self::Default`].
    Auto,
    /// The engine's default bridge.
    Default,
    /// The same, from which only the Internet is reached.
    Internet,
    /// Loopback only.
    None,
}

impl Named for BuildNetwork {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("default", Self::Default),
        ("internet", Self::Internet),
        ("none", Self::None),
    ];
}

impl BuildNetwork {
    /// The engine's word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto | Self::Default | Self::Internet => "default",
            Self::None => "none",
        }
    }
}

/// When images are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// If the engine lacks them.
    Missing,
    /// Before each use.
    Always,
    /// Never.
    Never,
}

impl Named for Pull {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("missing", Self::Missing),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

/// The limits of every build and load; worker settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLimits {
    /// The network of build steps.
    pub network: BuildNetwork,
    /// When base images are pulled.
    pub pull: Pull,
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
    /// The engine's default bridge, an hour, 20 minutes of silence, 100 GiB.
    fn default() -> Self {
        Self {
            network: BuildNetwork::Default,
            pull: Pull::Missing,
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
    /// The image's name from [`NameKey::image`](super::NameKey::image).
    pub tag: String,
    /// What separates the build from those of other users.
    pub space: BuildSpace,
    /// Labels of the image; those of the DoPQ cluster, user and digest.
    pub labels: BTreeMap<String, String>,
    /// The bundle's zip.
    pub bundle: PathBuf,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Secrets that steps may mount.
    pub secrets: SecretFiles,
    /// The build's limits.
    pub limits: BuildLimits,
}
