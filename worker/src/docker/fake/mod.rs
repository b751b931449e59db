//! An engine in memory with Docker's habits, for tests and simulations.
//!
//! Containers run scripts ([`Program`]) by tokio's clock, so that paused time moves them. The habits are
//! those that break naive callers: a taken name is a conflict, an ended container's wait answers again
//! and again, a stopping engine reports 137 before its socket goes, streams end with an error then, a
//! lost answer does not tell whether the call took effect. The conformance suite holds it to the real
//! one. What a Dockerfile does is not pretended; builds are scripts as well.

mod images;
mod lifecycle;
mod lines;
mod namespace;
mod program;
mod running;
mod state;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dopq_common::id::Digest;
use dopq_common::time::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::error::Error;
use super::plan::Plan;
use super::types::{Builder, EngineInfo, ImageInfo};
use crate::clock::Clock;
use crate::disk::Disk;
use program::Ending;
use state::State;

pub use program::{Build, Program};
pub use state::Fault;

/// The engine in memory. Clones are the same engine.
#[derive(Debug, Clone)]
pub struct Fake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether its socket is there.
    up: watch::Sender<bool>,
    clock: Clock,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// An engine without images or containers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new()),
                up: watch::Sender::new(true),
                clock: Clock::start(),
            }),
        }
    }

    /// Says what containers do whose name, last word of command, or image is `key`.
    pub fn script(&self, key: &str, program: Program) {
        self.shared
            .state
            .lock()
            .programs
            .insert(key.to_owned(), program);
    }

    /// Says what builds and loads of the bundle with this digest do.
    pub fn script_build(&self, digest: Digest, build: Build) {
        self.shared
            .state
            .lock()
            .builds
            .insert(digest.to_string(), build);
    }

    /// Puts an image there; gives its id.
    pub fn add_image(&self, name: &str) -> String {
        self.put_image(name, [].into()).unwrap_or_default()
    }

    /// Has a registry that gives this image.
    pub fn offer_image(&self, name: &str) {
        self.shared.state.lock().registry.insert(name.to_owned());
    }

    /// Gives an image a further name.
    pub fn tag_image(&self, image: &str, name: &str) {
        let mut state = self.shared.state.lock();
        if let Some(id) = state.find_image(image).map(|found| found.id.clone()) {
            state.tag(&id, name);
        }
    }

    /// Puts an image with labels there.
    pub fn add_labelled_image(&self, name: &str, labels: BTreeMap<String, String>) {
        drop(self.put_image(name, labels));
    }

    /// Keeps each image as a file of so many bytes in `folder`, so that a real disk can fill.
    pub fn keep_images_in(&self, folder: &Path, bytes: u64) {
        let mut state = self.shared.state.lock();
        state.folder = Some(folder.to_owned());
        state.image_bytes = bytes;
    }

    /// Gives it a disk with room for so many images.
    pub fn give_disk(&self, images: u64) {
        let mut state = self.shared.state.lock();
        state.room = Some(images * state.image_bytes);
    }

    /// Its disks.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let state = self.shared.state.lock();
        let real = state.folder.as_deref().and_then(|at| Disk::of(at).ok());
        let used = state.images.iter().map(|image| image.size_bytes).sum();
        let pretended = state.room.map(|room| Disk {
            used,
            free: room.saturating_sub(used),
        });
        real.into_iter().chain(pretended).collect()
    }

    /// The names of its images.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let state = self.shared.state.lock();
        let names = state.images.iter().flat_map(|image| image.tags.clone());
        names.collect()
    }

    /// Puts a fault in the way of the next call of this name, such as `start`.
    pub fn fail_next(&self, call: &str, fault: Fault) {
        self.shared
            .state
            .lock()
            .faults
            .push((call.to_owned(), fault));
    }

    /// How often the named container's process was started.
    #[must_use]
    pub fn starts(&self, name: &str) -> u32 {
        self.shared
            .state
            .lock()
            .find(name)
            .map_or(0, |record| record.starts)
    }

    /// The value of a variable in the named container's environment.
    #[must_use]
    pub fn variable(&self, name: &str, variable: &str) -> Option<String> {
        let mut state = self.shared.state.lock();
        let env = &state.find(name).ok()?.plan.env;
        let mut named = env.iter().filter(|(known, _)| known == variable);
        named.next().map(|(_, value)| value.reveal().to_owned())
    }

    /// What the named container was created with.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<Plan> {
        let mut state = self.shared.state.lock();
        state.find(name).ok().map(|record| record.plan.clone())
    }

    /// Every call so far, such as `start dopq-1-1`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.shared.state.lock().calls.clone()
    }

    /// Stops the engine. Without `live_restore` its containers are killed first, and whoever waits for
    /// them hears 137 before the socket goes.
    pub fn stop_engine(&self, live_restore: bool) {
        let now = self.now();
        let mut state = self.shared.state.lock();
        if !live_restore {
            for record in state.containers.values_mut() {
                record.end(now, state::KILLED, false);
            }
        }
        self.shared.up.send_replace(false);
    }

    /// Has it answer again.
    pub fn start_engine(&self) {
        self.shared.up.send_replace(true);
    }

    /// Ends a container's process behind everybody's back, as its own doing.
    pub fn end(&self, name: &str, code: i32) {
        let now = self.now();
        if let Ok(record) = self.shared.state.lock().find(name) {
            record.end(now, code, false);
        }
    }

    /// What the engine is.
    ///
    /// # Errors
    /// When it is down, or a fault was put in the way.
    pub async fn probe(&self) -> Result<EngineInfo, Error> {
        self.call("probe", "", |_| {
            Ok(EngineInfo {
                version: "fake".to_owned(),
                api: "1.41".to_owned(),
                builder: Builder::Current,
                runtimes: vec!["runc".to_owned()],
                shares_networks: true,
                cpus: 4,
                memory_bytes: 16 << 30,
                ..EngineInfo::default()
            })
        })
        .await
    }

    /// Makes a network unless it is there.
    ///
    /// # Errors
    /// When it is down, or a fault was put in the way.
    pub async fn ensure_network(&self, name: &str, cluster: &str) -> Result<(), Error> {
        self.call("ensure network", name, |state| {
            state.networks.insert(name.to_owned(), cluster.to_owned());
            Ok(())
        })
        .await
    }

    /// Runs one call.
    async fn call<T>(
        &self,
        call: &'static str,
        about: &str,
        act: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Every call is a turn of its own, as with a socket.
        tokio::task::yield_now().await;
        let lost = |words: &str| Error::Unreachable {
            call,
            source: words.into(),
        };
        let mut state = self.shared.state.lock();
        state
            .calls
            .push(format!("{call} {about}").trim_end().to_owned());
        if !*self.shared.up.borrow() {
            return Err(lost("connection refused"));
        }
        match state.fault(call) {
            None => act(&mut state),
            Some(Fault::LostAfter) => {
                // Whatever the engine answered, nobody heard it.
                drop(act(&mut state));
                Err(lost("connection reset"))
            }
            Some(Fault::ImageGone) => {
                state.images.clear();
                act(&mut state)
            }
            Some(Fault::LostBefore) => Err(lost("connection reset")),
            Some(Fault::DiskFull) => Err(Error::DiskFull {
                message: "no space left on device".to_owned(),
            }),
            Some(Fault::Refused) => Err(Error::Other {
                call,
                message: "something went wrong".to_owned(),
            }),
            Some(Fault::NetworkGone) => Err(Error::NetworkGone {
                message: "cannot join network of a non running container".to_owned(),
            }),
            Some(Fault::Panic) => panic!("a fault in {call}"),
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn put_image(&self, name: &str, labels: BTreeMap<String, String>) -> Result<String, Error> {
        let created_at = self.now();
        let mut state = self.shared.state.lock();
        let id = format!("sha256:{}", state.fresh_id());
        state.write_image(&id)?;
        let size_bytes = state.image_bytes;
        state.images.push(ImageInfo {
            id: id.clone(),
            labels,
            size_bytes,
            created_at,
            ..ImageInfo::default()
        });
        state.tag(&id, name);
        Ok(id)
    }
}
