//! The port: the operations of a container engine.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::build::BuildRequest;
use super::cgroup::Cgroup;
use super::client::Client;
use super::error::{BuildError, Error};
#[cfg(any(test, feature = "fake-engine"))]
use super::fake::Fake;

use super::namespace::{NetworkFiles, Traces, traces};
use super::network::Bridge;
use super::plan::Plan;
use crate::disk::Disk;

use super::types::{Container, Created, EngineInfo, Exit, ImageInfo, LogPiece, Signal, Usage};

/// A container engine.
#[derive(Debug, Clone)]
pub enum Engine {
    /// Docker, over its API.
    Docker(Client),
    /// In memory, with Docker's behaviour.
    #[cfg(any(test, feature = "fake-engine"))]
    Fake(Fake),
}

/// Forwards a call to the engine.
macro_rules! either {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Self::Docker($engine) => $call,
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake($engine) => $call,
        }
    };
}

impl Engine {
    /// The engine's properties.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Deadline`], or the engine's error.
    pub async fn probe(&self) -> Result<EngineInfo, Error> {
        either!(self, engine => engine.probe().await)
    }

    /// The disks where it keeps images and containers; none if it is on another machine or was never probed.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        either!(self, engine => engine.disks())
    }

    /// Creates the jobs' bridge `name` if it is missing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when something else has the name; and any other.
    pub async fn ensure_network(&self, name: &str, cluster: &str) -> Result<(), Error> {
        either!(self, engine => engine.ensure_network(name, cluster).await)
    }

    /// The bridge of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; [`Error::Conflict`] if it is not one bridge; and any other.
    pub async fn find_bridge(&self, name: &str) -> Result<Bridge, Error> {
        match self {
            Self::Docker(client) => client.find_bridge(name).await,
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake(_) => Err(Error::NotFound {
                message: format!("{name}: an engine in memory has no interfaces"),
            }),
        }
    }

    /// The addresses of the proxies that containers and builds are told to use.
    pub(crate) async fn proxies(&self) -> Vec<String> {
        match self {
            Self::Docker(client) => client.registries().await.proxies(),
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake(_) => Vec::new(),
        }
    }

    /// Gives the engine [`holder_image`](super::holder_image), whose program `/wait` only waits.
    ///
    /// # Errors
    /// Any.
    pub async fn add_holder_image(&self) -> Result<(), Error> {
        either!(self, engine => engine.add_holder_image().await)
    }

    /// The network files that the engine made for a running container.
    ///
    /// # Errors
    /// Any.
    pub async fn network_files(&self, id: &str) -> Result<NetworkFiles, Error> {
        either!(self, engine => engine.network_files(id).await)
    }

    /// The traces in the network namespace of the process `pid`. `None` when it is not the program `/wait NAME`, or
    /// cannot be looked at.
    #[must_use]
    pub fn traces(&self, pid: u32, name: &str) -> Option<Traces> {
        match self {
            Self::Docker(_) => traces(pid, name),
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake(fake) => fake.traces(name),
        }
    }

    /// Builds the image of a bundle's Dockerfile and returns its id. Sends output to `output` line by line, newline
    /// included, and waits for its reader. Ignores a missing reader.
    ///
    /// # Errors
    /// [`BuildError`]. After it, nothing of the build runs and no intermediate container is left.
    pub async fn build(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        either!(self, engine => engine.build(request, output, cancel).await)
    }

    /// Loads the bundle's `image.tar`, names it, and returns its id.
    ///
    /// # Errors
    /// [`BuildError`].
    pub async fn load(
        &self,
        request: &BuildRequest,
        output: mpsc::Sender<Bytes>,
        cancel: CancellationToken,
    ) -> Result<String, BuildError> {
        either!(self, engine => engine.load(request, output, cancel).await)
    }

    /// Pulls an image from its registry; `silent` is the time-out without progress.
    ///
    /// # Errors
    /// [`Error::ImageMissing`]; and any other.
    pub async fn pull(&self, name: &str, silent: Duration) -> Result<(), Error> {
        either!(self, engine => engine.pull(name, silent).await)
    }

    /// The image of this name or id, if the engine has it.
    ///
    /// # Errors
    /// Any but the image's absence.
    pub async fn find_image(&self, name: &str) -> Result<Option<ImageInfo>, Error> {
        either!(self, engine => engine.find_image(name).await)
    }

    /// Images with all these labels, ordered by id.
    ///
    /// # Errors
    /// Any.
    pub async fn list_images(&self, labels: &[(&str, &str)]) -> Result<Vec<ImageInfo>, Error> {
        either!(self, engine => engine.list_images(labels).await)
    }

    /// Removes a name, and the image with its last name; an image that is gone is fine.
    ///
    /// # Errors
    /// [`Error::Conflict`] while a container uses it; and any other.
    pub async fn remove_image(&self, name: &str) -> Result<(), Error> {
        either!(self, engine => engine.remove_image(name).await)
    }

    /// Removes the oldest unused parts of the build cache until it has no more than `keep`; returns the bytes freed.
    ///
    /// # Errors
    /// Any.
    pub async fn prune_builds(&self, keep: ByteSize) -> Result<u64, Error> {
        either!(self, engine => engine.prune_builds(keep).await)
    }

    /// Creates a container without starting it. Sets `existed` if an earlier call for the same attempt created it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another container has the name; [`Error::ImageMissing`]; and any other.
    pub async fn create(&self, plan: &Plan) -> Result<Created, Error> {
        either!(self, engine => engine.create(plan).await)
    }

    /// Starts a container that was never started; never one that has ended. Does nothing if it runs.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has ended; [`Error::Command`] when its command cannot be run. After
    /// an error that [`is_uncertain`](Error::is_uncertain), inspect; never start again.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        either!(self, engine => engine.start(id).await)
    }

    /// The container's state; `None` if it does not exist.
    ///
    /// # Errors
    /// Any but [`Error::NotFound`].
    pub async fn inspect(&self, id: &str) -> Result<Option<Container>, Error> {
        either!(self, engine => engine.inspect(id).await)
    }

    /// Waits until a started container has ended.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the engine went away: inspect once it is back. The engine itself may have caused a code
    /// of 137 or 143 just before.
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        either!(self, engine => engine.wait(id).await)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; and any other.
    pub async fn kill(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        either!(self, engine => engine.kill(id, signal).await)
    }

    /// Sends its program the signal that asks it to end: past shells and launchers that only wait for it, but not to
    /// what a program that catches the signal has started.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run; and any other.
    pub async fn ask_to_end(&self, id: &str, signal: &Signal) -> Result<(), Error> {
        either!(self, engine => engine.ask_to_end(id, signal).await)
    }

    /// Pauses it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it does not run or is paused; and any other.
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        either!(self, engine => engine.pause(id).await)
    }

    /// Resumes it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not paused; and any other.
    pub async fn unpause(&self, id: &str) -> Result<(), Error> {
        either!(self, engine => engine.unpause(id).await)
    }

    /// Removes it with its anonymous volumes; one that is gone is fine.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs and `force` is off; and any other.
    pub async fn remove(&self, id: &str, force: bool) -> Result<(), Error> {
        either!(self, engine => engine.remove(id, force).await)
    }

    /// Containers in any state with all these labels, ordered by name.
    ///
    /// # Errors
    /// Any.
    pub async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Container>, Error> {
        either!(self, engine => engine.list(labels).await)
    }

    /// Whether the engine noticed before `until` that the kernel killed a process of the container at its memory limit.
    /// Inspection shows that only if the engine noticed it before the container's end. The engine keeps only a few hundred
    /// events, so ask soon.
    ///
    /// # Errors
    /// Any.
    pub async fn oom_noted(&self, id: &str, until: Timestamp) -> Result<bool, Error> {
        either!(self, engine => engine.oom_noted(id, until).await)
    }

    /// Where the kernel keeps the figures of a running container; `None` when this process cannot read them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not run; and any other.
    pub(crate) async fn cgroup(&self, id: &str) -> Result<Option<Cgroup>, Error> {
        match self {
            Self::Docker(client) => {
                let pid = client.inspect(id).await?.and_then(|found| found.pid);
                let pid = pid.ok_or_else(|| Error::NotFound {
                    message: format!("container {id} does not run"),
                })?;
                Ok(Cgroup::find(pid, id))
            }
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake(_) => Ok(None),
        }
    }

    /// The present resource usage of a running container.
    ///
    /// # Errors
    /// Any.
    pub async fn stats(&self, id: &str) -> Result<Usage, Error> {
        either!(self, engine => engine.stats(id).await)
    }

    /// The engine as far as commands in containers go.
    ///
    /// # Errors
    /// [`Error::NotFound`] of an engine in memory, which runs no programs.
    pub(crate) fn commands(&self) -> Result<&Client, Error> {
        match self {
            Self::Docker(client) => Ok(client),
            #[cfg(any(test, feature = "fake-engine"))]
            Self::Fake(_) => Err(Error::NotFound {
                message: "an engine in memory runs no commands".to_owned(),
            }),
        }
    }

    /// The container's output from its start, always the same bytes, so that a reader resumes by skipping. With `follow` it
    /// continues until the container has ended, even if it is not started yet. An error is the last item; it is
    /// [`Error::NotFound`] if the container was removed.
    pub fn logs(
        &self,
        id: &str,
        tty: bool,
        follow: bool,
    ) -> BoxStream<'static, Result<LogPiece, Error>> {
        either!(self, engine => engine.logs(id, tty, follow))
    }
}
