//! What a build is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dopq_common::resources::{ByteSize, MilliCpu};

/// The limits that every build runs under; worker settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLimits {
    /// Memory of a build step, swap included.
    pub memory: ByteSize,
    /// CPU of a build step.
    pub cpu: MilliCpu,
    /// The network of build steps: `none`, or the name of a network such as `bridge`.
    pub network: String,
    /// Longest build in all.
    pub total: Duration,
    /// Longest silence; sending the context counts as noise.
    pub silent: Duration,
}

impl Default for BuildLimits {
    /// 8 GiB, 4 cores, the engine's default bridge, two hours, and 20 minutes of silence.
    fn default() -> Self {
        Self {
            memory: ByteSize(8 * ByteSize::GIB),
            cpu: MilliCpu(4000),
            network: "bridge".to_owned(),
            total: Duration::from_secs(2 * 3600),
            silent: Duration::from_secs(20 * 60),
        }
    }
}

/// An image to be built, or loaded, from a bundle on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The image's name, as [`image_tag`](super::image_tag) makes it.
    pub tag: String,
    /// Labels of the image; those of the DoPQ cluster, user and digest.
    pub labels: BTreeMap<String, String>,
    /// The bundle's zip.
    pub bundle: PathBuf,
    /// What the build may use.
    pub limits: BuildLimits,
}

impl super::Client {
    /// See [`Engine::build`](super::Engine::build).
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError).
    pub async fn build(
        &self,
        request: &BuildRequest,
        _output: tokio::sync::mpsc::Sender<bytes::Bytes>,
        _cancel: tokio_util::sync::CancellationToken,
    ) -> Result<String, super::BuildError> {
        Err(super::BuildError::Failed {
            step: None,
            detail: format!("no builder for {}", request.tag),
        })
    }

    /// See [`Engine::load`](super::Engine::load).
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError).
    pub async fn load(
        &self,
        request: &BuildRequest,
        _output: tokio::sync::mpsc::Sender<bytes::Bytes>,
        _cancel: tokio_util::sync::CancellationToken,
    ) -> Result<String, super::BuildError> {
        Err(super::BuildError::Failed {
            step: None,
            detail: format!("no loader for {}", request.tag),
        })
    }
}
