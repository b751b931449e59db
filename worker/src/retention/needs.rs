//! What attempts of this machine need: bundles and images, from the order until the attempt is forgotten, and before
//! that while the masters expect the attempt here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dopq_common::agent::Run;
use dopq_common::id::{AttemptId, Digest, UserName};
use dopq_common::job::ImageSource;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::docker::{ImageInfo, LABEL_DIGEST, LABEL_USER, plain_name};

/// What is needed.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    table: Mutex<Table>,
    removed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    attempts: BTreeMap<AttemptId, Need>,
    /// What attempts need that may come.
    expected: Vec<Need>,
    /// Images that are being removed.
    going: BTreeSet<String>,
}

/// What one attempt needs.
#[derive(Debug, Default)]
struct Need {
    bundle: Option<(UserName, Digest)>,
    /// The plain name of the image, where the job names one.
    name: Option<String>,
    image: Option<Arc<str>>,
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Need> {
        self.attempts.values().chain(&self.expected)
    }
}

impl Need {
    fn of(run: &Run) -> Self {
        let bundle = run.order.bundle;
        Self {
            bundle: bundle.map(|bundle| (run.order.user.clone(), bundle.digest)),
            name: match &run.spec.image {
                ImageSource::Named(name) => plain_name(name),
                ImageSource::Build | ImageSource::Load => None,
            },
            image: None,
        }
    }

    fn is(&self, image: &ImageInfo) -> bool {
        let label = |name| image.labels.get(name).map(String::as_str);
        let made_from = |(user, digest): &(UserName, Digest)| {
            label(LABEL_USER) == Some(user.as_str())
                && label(LABEL_DIGEST) == Some(digest.to_string().as_str())
        };
        self.image.as_deref() == Some(image.id.as_str())
            || self.bundle.as_ref().is_some_and(made_from)
            || self.name.is_some() && image.tags.iter().any(|tag| plain_name(tag) == self.name)
    }
}

/// The removal of an image; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Removal<'a> {
    needs: &'a Needs,
    image: String,
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        self.needs.table.lock().going.remove(&self.image);
        self.needs.removed.notify_waiters();
    }
}

impl Needs {
    /// The attempt needs its bundle, and the image that is made of it or that it names. An image that is being removed
    /// now still goes.
    pub(super) fn bundle(&self, attempt: AttemptId, run: &Run) {
        let Need { bundle, name, .. } = Need::of(run);
        let mut table = self.table.lock();
        let need = table.attempts.entry(attempt).or_default();
        need.bundle = bundle;
        need.name = name;
    }

    /// The attempts that may come are these now, and need their bundles and images.
    pub(super) fn expect<'r>(&self, runs: impl Iterator<Item = &'r Run>) {
        let expected = runs.map(Need::of).collect();
        self.table.lock().expected = expected;
    }

    /// The attempt needs this image. False when the image was being removed; it is gone then.
    pub(super) async fn image(&self, attempt: AttemptId, image: &Arc<str>) -> bool {
        let mut waited = false;
        loop {
            let removed = self.removed.notified();
            {
                let mut table = self.table.lock();
                if !table.going.contains(&**image) {
                    let need = table.attempts.entry(attempt).or_default();
                    need.image = (!waited).then(|| Arc::clone(image));
                    return !waited;
                }
            }
            waited = true;
            removed.await;
        }
    }

    /// The attempt needs nothing more.
    pub(super) fn nothing(&self, attempt: AttemptId) {
        self.table.lock().attempts.remove(&attempt);
    }

    /// Whether any attempt needs the image, also one that may come.
    pub(super) fn is_needed(&self, image: &ImageInfo) -> bool {
        let table = self.table.lock();
        table.all().any(|need| need.is(image))
    }

    /// Begins to remove an image; `None` when it is needed. From here on nobody is told that it is there.
    pub(super) fn begin_removal(&self, image: &ImageInfo) -> Option<Removal<'_>> {
        let mut table = self.table.lock();
        if table.all().any(|need| need.is(image)) {
            return None;
        }
        table.going.insert(image.id.clone());
        Some(Removal {
            needs: self,
            image: image.id.clone(),
        })
    }

    /// The bundles that are needed.
    pub(crate) fn bundles(&self) -> BTreeSet<Digest> {
        let table = self.table.lock();
        table
            .all()
            .filter_map(|need| Some(need.bundle.as_ref()?.1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: &str = "7.1-07070707070707070707070707070707";

    fn image(id: &str) -> ImageInfo {
        ImageInfo {
            id: id.to_owned(),
            ..ImageInfo::default()
        }
    }

    #[tokio::test]
    async fn an_image_is_either_needed_or_removed() {
        let needs = Arc::new(Needs::default());
        let attempt: AttemptId = ATTEMPT.parse().expect("an id");
        let held: Arc<str> = Arc::from("a");
        assert!(needs.image(attempt, &held).await);
        assert!(needs.begin_removal(&image("a")).is_none(), "it is needed");

        let other: Arc<str> = Arc::from("b");
        let removal = needs.begin_removal(&image("b")).expect("nobody needs it");
        let asking = tokio::spawn({
            let needs = Arc::clone(&needs);
            async move { needs.image(attempt, &other).await }
        });
        tokio::task::yield_now().await;
        assert!(!asking.is_finished(), "the removal is under way");
        drop(removal);
        assert!(!asking.await.expect("joined"), "it was removed meanwhile");

        assert!(needs.image(attempt, &held).await);
        needs.nothing(attempt);
        assert!(needs.begin_removal(&image("a")).is_some());
    }
}
