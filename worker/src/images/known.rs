//! What was learned of images when they were last looked at, so that one start does not look three times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::docker::ImageInfo;

/// How long after it was found an image counts as there. The attempt that found it keeps it from being removed.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// So many of each are remembered.
const MOST: usize = 256;

/// What an image sets, which never changes under one id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageSettings {
    /// Its environment, as `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Where its commands begin.
    pub(crate) working_dir: String,
}

/// What is known of images.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Images>);

#[derive(Debug, Default)]
struct Images {
    /// Ids by tag, each for the next one who asks.
    found: BTreeMap<String, (Instant, Arc<str>)>,
    settings: BTreeMap<Arc<str>, Arc<ImageSettings>>,
}

impl Known {
    /// Remembers what an image sets; returns its id.
    pub(super) fn learn(&self, image: ImageInfo) -> Arc<str> {
        let id: Arc<str> = Arc::from(image.id);
        let settings = ImageSettings {
            env: image.env,
            working_dir: image.working_dir,
        };
        let mut images = self.0.lock();
        if images.settings.len() >= MOST {
            images.settings.clear();
        }
        images.settings.insert(Arc::clone(&id), Arc::new(settings));
        id
    }

    /// What the image of this id sets, if it was looked at.
    pub(super) fn settings(&self, id: &str) -> Option<Arc<ImageSettings>> {
        self.0.lock().settings.get(id).cloned()
    }

    /// An image was found under this tag.
    pub(super) fn found(&self, tag: String, id: Arc<str>, now: Instant) {
        let mut images = self.0.lock();
        if images.found.len() >= MOST {
            images.found.clear();
        }
        images.found.insert(tag, (now, id));
    }

    /// The id that was just found under this tag; once.
    pub(super) fn take(&self, tag: &str, now: Instant) -> Option<Arc<str>> {
        let (at, id) = self.0.lock().found.remove(tag)?;
        (now.duration_since(at) < FRESH_FOR).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_taken_once_and_while_it_is_fresh() {
        let known = Known::default();
        let (id, now): (Arc<str>, _) = (Arc::from("sha256:1"), Instant::now());
        known.found("a:1".to_owned(), Arc::clone(&id), now);
        assert_eq!(known.take("b:1", now), None);
        assert_eq!(known.take("a:1", now), Some(Arc::clone(&id)));
        assert_eq!(known.take("a:1", now), None);
        known.found("a:1".to_owned(), id, now);
        assert_eq!(known.take("a:1", now + FRESH_FOR), None);
    }

    #[test]
    fn settings_stay_and_are_bounded() {
        let known = Known::default();
        for number in 0..=MOST {
            let image = ImageInfo {
                id: format!("sha256:{number}"),
                env: vec![format!("A={number}")],
                ..ImageInfo::default()
            };
            known.learn(image);
        }
        assert_eq!(known.settings("sha256:0"), None);
        let last = known.settings(&format!("sha256:{MOST}"));
        assert_eq!(last.expect("known").env, [format!("A={MOST}")]);
    }
}
