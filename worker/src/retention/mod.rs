//! Keeps the engine's disk from filling: removes images that DoPQ made or pulled, and the engine's build cache.
//!
//! Once more than `retention.images_high` of the disk is used, images go, the longest unused first, until no more than
//! `retention.images_low` is. An image stays that an attempt of this machine needs, or one that the masters expect here
//! ([`Needs`]), or that any container uses, which the engine itself checks. When an image was last used survives a restart, in the records.
//!
//! - [`choose`]: which images go, and in which order
//! - [`needs`]: what attempts need
//! - [`unlabelled`]: which images without DoPQ's labels are DoPQ's

mod choose;
mod needs;
mod unlabelled;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dopq_common::agent::{Expected, Run, Stage, State};
use dopq_common::chain::chain;
use dopq_common::id::AttemptId;
use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use dopq_common::wire::Kept;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::docker::{self, Engine, ImageInfo, LABEL_CLUSTER, LABEL_INSTANCE};
use crate::options;
use crate::records::Records;

pub(crate) use needs::Needs;
pub(crate) use unlabelled::Unlabelled;

/// Between two looks at the disk. Before each build there is one more.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two records of which images are used.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at the size of the build cache.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// After all was removed and the disk is still too full, the build cache is left alone for so long.
const REST: Duration = Duration::from_secs(60);

/// What retention works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    /// Images of other clusters and of other workers are not looked at.
    pub(crate) cluster: String,
    pub(crate) instance: String,
    pub(crate) settings: options::Retention,
    pub(crate) records: Records,
    pub(crate) clock: Clock,
}

/// Removes what is not needed.
#[derive(Debug)]
pub(crate) struct Retention {
    parts: Parts,
    needs: Arc<Needs>,
    unlabelled: Arc<Unlabelled>,
    /// When each image was last used, by its id.
    uses: Mutex<Uses>,
    /// One sweep at a time; until when the build cache is left alone.
    sweeping: tokio::sync::Mutex<Option<Instant>>,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Uses {
    by_image: BTreeMap<String, Timestamp>,
    /// Whether the records have less.
    changed: bool,
}

/// What was counted since the worker's start.
#[derive(Debug, Default)]
struct Totals {
    images: AtomicU64,
    images_bytes: AtomicU64,
    removed: AtomicU64,
}

impl Retention {
    /// With the recorded last use of images, which ones without labels are DoPQ's, and the attempts that the worker
    /// resumes.
    pub(crate) async fn resume(
        parts: Parts,
        (uses, unlabelled): (BTreeMap<String, Timestamp>, BTreeSet<String>),
        state: &State,
    ) -> Self {
        let needs = Needs::default();
        for attempt in state.attempts().filter(|known| !known.stage.is_closed()) {
            if let Some(run) = &attempt.run {
                needs.bundle(attempt.id, run);
            }
            if let Stage::Creating { image } = &attempt.stage {
                // Nothing is removed yet.
                needs.image(attempt.id, image).await;
            }
        }
        Self {
            unlabelled: Arc::new(Unlabelled::new(parts.records.clone(), unlabelled)),
            parts,
            needs: Arc::new(needs),
            uses: Mutex::new(Uses {
                by_image: uses,
                changed: false,
            }),
            sweeping: tokio::sync::Mutex::default(),
            totals: Totals::default(),
        }
    }

    /// What attempts need.
    pub(crate) fn needs(&self) -> Arc<Needs> {
        Arc::clone(&self.needs)
    }

    /// Which images without DoPQ's labels are DoPQ's.
    pub(crate) fn unlabelled(&self) -> Arc<Unlabelled> {
        Arc::clone(&self.unlabelled)
    }

    /// The attempt begins to be prepared: its bundle, and the image that is made of it, stay.
    pub(crate) fn begun(&self, attempt: AttemptId, run: &Run) {
        self.needs.bundle(attempt, run);
    }

    /// The attempt will run this image, which stays. False when the image was just removed.
    pub(crate) async fn will_run(&self, attempt: AttemptId, image: &Arc<str>) -> bool {
        let there = self.needs.image(attempt, image).await;
        if there {
            let mut uses = self.uses.lock();
            let now = self.parts.clock.now();
            uses.by_image.insert(image.to_string(), now);
            uses.changed = true;
        }
        there
    }

    /// The masters expect these attempts to come: their bundles and images stay.
    pub(crate) fn expect(&self, expected: &[Expected]) {
        self.needs
            .expect(expected.iter().map(|expected| &*expected.run));
    }

    /// The attempt is forgotten.
    pub(crate) fn forgotten(&self, attempt: AttemptId) {
        self.needs.nothing(attempt);
    }

    /// Sweeps until the worker ends.
    pub(crate) async fn run(&self) {
        let [mut looks, mut saves, mut prunes] =
            [LOOK_EVERY, SAVE_EVERY, PRUNE_EVERY].map(|every| {
                let mut interval = tokio::time::interval(every);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                interval
            });
        prunes.reset();
        loop {
            tokio::select! {
                _ = looks.tick() => self.sweep().await,
                _ = saves.tick() => self.save().await,
                _ = prunes.tick() => self.prune_builds(self.parts.settings.build_cache).await,
            }
        }
    }

    /// Records which images are used, if that changed.
    pub(crate) async fn save(&self) {
        let uses = {
            let mut uses = self.uses.lock();
            if !std::mem::take(&mut uses.changed) {
                return;
            }
            uses.by_image.clone()
        };
        if let Err(error) = self.parts.records.clone().note_images(uses).await {
            self.uses.lock().changed = true;
            tracing::warn!(
                error = chain(&error),
                "failed to record which images are used"
            );
        }
    }

    /// Whether no image need be removed.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_above(self.parts.settings.images_high.0)
    }

    /// Makes room for a build, if the disk is too full.
    pub(crate) async fn make_room(&self) {
        if !self.has_room() {
            self.sweep().await;
        }
    }

    /// Notes which images are in use, and removes images if the disk is too full.
    async fn sweep(&self) {
        let mut rest_until = self.sweeping.lock().await;
        if let Err(error) = self.sweep_once(&mut rest_until).await {
            tracing::warn!(error = chain(&error), "failed to list the images");
        }
    }

    async fn sweep_once(&self, rest_until: &mut Option<Instant>) -> Result<(), docker::Error> {
        let changes = self.unlabelled.changes();
        let mut images = self.parts.engine.list_images(&[]).await?;
        self.unlabelled.keep_only(changes, &images).await;
        images.retain(|image| self.made(image) || self.unlabelled.owns(image));
        self.note_uses(&images);
        let (high, low) = self.marks();
        if !self.is_above(high) {
            return Ok(());
        }
        let rests = rest_until.is_some_and(|until| Instant::now() < until);
        if !rests {
            self.prune_builds(self.parts.settings.build_cache).await;
        }
        let uses = self.uses.lock().by_image.clone();
        let used_at = |image: &ImageInfo| uses.get(&image.id).copied().unwrap_or(image.created_at);
        images = choose::removable(images, |image| self.needs.is_needed(image), used_at);
        for image in images {
            if !self.is_above(low) {
                return Ok(());
            }
            self.remove(&image).await;
        }
        if !rests && self.is_above(high) {
            self.prune_builds(ByteSize(0)).await;
            tracing::warn!("the engine's disk is nearly full and no image can be removed");
            *rest_until = Some(Instant::now() + REST);
        }
        Ok(())
    }

    /// Whether this worker made the image, as its labels say.
    fn made(&self, image: &ImageInfo) -> bool {
        let label = |name| image.labels.get(name).map(String::as_str);
        // Earlier versions did not name the instance.
        label(LABEL_CLUSTER) == Some(&self.parts.cluster)
            && label(LABEL_INSTANCE).is_none_or(|instance| instance == self.parts.instance)
    }

    /// The marks; a low one that is not below the high one is as good as none.
    fn marks(&self) -> (f64, f64) {
        let options::Retention {
            images_high,
            images_low,
            ..
        } = self.parts.settings;
        (images_high.0, images_low.0.min(images_high.0))
    }

    async fn remove(&self, image: &ImageInfo) {
        let Some(_removal) = self.needs.begin_removal(image) else {
            return;
        };
        // By its id, an image goes only if it has no more than one name.
        let names = match self.made(image) {
            true => vec![image.id.clone()],
            false => self.unlabelled.removable(image),
        };
        let Some(name) = names
            .first()
            .map(|first| image.tags.first().unwrap_or(first))
        else {
            return;
        };
        let mut removed = Ok(());
        for name in &names {
            removed = removed.and(self.parts.engine.remove_image(name).await);
        }
        match removed {
            Ok(()) => {
                self.totals.removed.fetch_add(1, Ordering::Relaxed);
                self.totals.images.fetch_sub(1, Ordering::Relaxed);
                tracing::info!(
                    image = name,
                    size_bytes = image.size_bytes,
                    "removed an unused image"
                );
            }
            // A container uses it, or somebody gave it another name.
            Err(docker::Error::Conflict { message }) => {
                tracing::debug!(image = name, message, "kept an image");
            }
            Err(error) => {
                tracing::warn!(
                    image = name,
                    error = chain(&error),
                    "failed to remove an image"
                );
            }
        }
    }

    async fn prune_builds(&self, keep: ByteSize) {
        match self.parts.engine.prune_builds(keep).await {
            Ok(0) => {}
            Ok(freed_bytes) => tracing::info!(freed_bytes, "pruned the build cache"),
            Err(error) => tracing::warn!(error = chain(&error), "failed to prune the build cache"),
        }
    }

    /// What is kept on the engine's fullest disk; `None` if that is unknown. So many images were made ahead.
    pub(crate) fn kept(&self, images_ahead: u64) -> Option<Kept> {
        let disks = self.parts.engine.disks();
        Some(Kept {
            disk_free_bytes: disks.iter().map(|disk| disk.free).min()?,
            images: self.totals.images.load(Ordering::Relaxed),
            images_bytes: self.totals.images_bytes.load(Ordering::Relaxed),
            images_removed: self.totals.removed.load(Ordering::Relaxed),
            images_ahead,
        })
    }

    /// Whether more than this share of any of the engine's disks is used.
    fn is_above(&self, share: f64) -> bool {
        let disks = self.parts.engine.disks();
        disks.iter().any(|disk| disk.is_above(share))
    }

    /// Notes that the images which attempts need are in use, and forgets those that are gone.
    fn note_uses(&self, images: &[ImageInfo]) {
        let size = |image: &ImageInfo| image.size_bytes;
        let count = u64::try_from(images.len()).unwrap_or(u64::MAX);
        self.totals.images.store(count, Ordering::Relaxed);
        let bytes = images.iter().map(size).fold(0, u64::saturating_add);
        self.totals.images_bytes.store(bytes, Ordering::Relaxed);
        let now = self.parts.clock.now();
        let mut uses = self.uses.lock();
        let count = uses.by_image.len();
        uses.by_image
            .retain(|id, _| images.iter().any(|image| image.id == *id));
        uses.changed |= uses.by_image.len() < count;
        for image in images.iter().filter(|image| self.needs.is_needed(image)) {
            uses.by_image.insert(image.id.clone(), now);
            uses.changed = true;
        }
    }
}
