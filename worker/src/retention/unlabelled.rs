//! Images without DoPQ's labels that DoPQ itself brought to the engine: pulled ones, and what a load begins with.
//!
//! They are noted by name before the engine is asked for them, so that a crash leaves none behind, and by id, because
//! a pull can move a name to another image. An image that has any other name is somebody else's too, and stays.

use std::collections::{BTreeMap, BTreeSet};

use dopq_common::chain::chain;
use parking_lot::Mutex;

use crate::docker::{ImageInfo, plain_name};
use crate::records::Records;

/// Which these are.
#[derive(Debug)]
pub(crate) struct Unlabelled {
    records: Records,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Names and ids.
    noted: BTreeSet<String>,
    /// Names whose images are being brought, and by how many tasks.
    coming: BTreeMap<String, usize>,
    /// Counts what was noted.
    changes: u64,
}

impl Table {
    fn note(&mut self, name: String) {
        self.noted.insert(name);
        self.changes += 1;
    }

    fn owns(&self, image: &ImageInfo) -> bool {
        let is_noted = |tag: &String| plain_name(tag).is_some_and(|tag| self.noted.contains(&tag));
        let is_known = !image.tags.is_empty() || self.noted.contains(&image.id);
        is_known && image.tags.iter().all(is_noted)
    }

    fn is_coming(&self, image: &ImageInfo) -> bool {
        let is_coming =
            |tag: &String| plain_name(tag).is_some_and(|tag| self.coming.contains_key(&tag));
        image.tags.iter().any(is_coming)
    }
}

/// An image that is being brought. It is not removed until this is dropped.
#[derive(Debug)]
pub(crate) struct Coming<'a> {
    of: &'a Unlabelled,
    name: String,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut table = self.of.table.lock();
        if let Some(count) = table.coming.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                table.coming.remove(&self.name);
            }
        }
    }
}

impl Unlabelled {
    /// With what is recorded.
    pub(crate) fn new(records: Records, noted: BTreeSet<String>) -> Self {
        let table = Table {
            noted,
            ..Table::default()
        };
        Self {
            records,
            table: Mutex::new(table),
        }
    }

    /// Notes the plain name of an image that is about to be brought.
    pub(crate) async fn begin(&self, name: &str) -> Coming<'_> {
        let name = name.to_owned();
        {
            let mut table = self.table.lock();
            table.note(name.clone());
            *table.coming.entry(name.clone()).or_default() += 1;
        }
        // It exists before the first wait, so that a caller who is dropped leaves nothing behind.
        let coming = Coming {
            of: self,
            name: name.clone(),
        };
        self.record(vec![name], Vec::new()).await;
        coming
    }

    /// The image has come.
    pub(crate) async fn came(&self, id: &str) {
        self.table.lock().note(id.to_owned());
        self.record(vec![id.to_owned()], Vec::new()).await;
    }

    /// The image of this plain name was there before, unless it was brought under another name.
    pub(crate) async fn was_there(&self, name: &str, id: &str) {
        let forgotten = {
            let mut table = self.table.lock();
            !table.noted.contains(id) && table.noted.remove(name)
        };
        if forgotten {
            self.record(Vec::new(), vec![name.to_owned()]).await;
        }
    }

    /// Whether an image was brought here by DoPQ and has no name of somebody else's.
    pub(super) fn owns(&self, image: &ImageInfo) -> bool {
        self.table.lock().owns(image)
    }

    /// The names under which such an image is to be removed; none while it is being brought.
    pub(super) fn removable(&self, image: &ImageInfo) -> Vec<String> {
        let table = self.table.lock();
        if !table.owns(image) || table.is_coming(image) {
            return Vec::new();
        }
        match image.tags.as_slice() {
            [] => vec![image.id.clone()],
            tags => tags.to_vec(),
        }
    }

    /// A number to take before the images are listed, for [`Unlabelled::keep_only`].
    pub(super) fn changes(&self) -> u64 {
        self.table.lock().changes
    }

    /// Forgets what none of the engine's images has as name or id. Does nothing if anything was noted since `changes`,
    /// because the list may be older.
    pub(super) async fn keep_only(&self, changes: u64, images: &[ImageInfo]) {
        let mut there = BTreeSet::new();
        for image in images {
            there.insert(image.id.clone());
            there.extend(image.tags.iter().filter_map(|tag| plain_name(tag)));
        }
        let gone: Vec<String> = {
            let mut table = self.table.lock();
            if table.changes != changes {
                return;
            }
            let is_gone =
                |noted: &&String| !there.contains(*noted) && !table.coming.contains_key(*noted);
            let gone: Vec<String> = table.noted.iter().filter(is_gone).cloned().collect();
            table.noted.retain(|noted| !gone.contains(noted));
            gone
        };
        if !gone.is_empty() {
            self.record(Vec::new(), gone).await;
        }
    }

    /// A change that cannot be recorded still holds in this process.
    async fn record(&self, added: Vec<String>, gone: Vec<String>) {
        let recorded = self.records.clone().note_unlabelled(added, gone).await;
        if let Err(error) = recorded {
            let error = chain(&error);
            tracing::warn!(error, "failed to record which images DoPQ brought");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str]) -> ImageInfo {
        ImageInfo {
            id: id.to_owned(),
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            ..ImageInfo::default()
        }
    }

    #[tokio::test]
    async fn only_what_was_brought_and_is_nobody_elses_may_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let records = Records::open(&dir.path().join("records.redb")).expect("open");
        records.load("instance").expect("load");
        let brought = Unlabelled::new(records.clone(), BTreeSet::new());
        let pulled = image("sha256:1", &["python:3.12"]);
        assert!(brought.removable(&pulled).is_empty(), "somebody else's");

        let coming = brought.begin("python:3.12").await;
        brought.came("sha256:1").await;
        assert!(brought.removable(&pulled).is_empty(), "it is coming");
        brought.keep_only(brought.changes(), &[]).await;
        brought.keep_only(0, &[]).await;
        brought.came("sha256:1").await;
        drop(coming);
        assert_eq!(brought.removable(&pulled), ["python:3.12"]);
        let shared = image("sha256:1", &["mine:1", "python:3.12"]);
        assert!(brought.removable(&shared).is_empty(), "it has another name");

        // A later pull moved the name.
        let old = image("sha256:1", &[]);
        assert_eq!(brought.removable(&old), ["sha256:1"]);
        assert!(brought.removable(&image("sha256:2", &[])).is_empty());

        // It was there, and the pull only gave it a name.
        drop(brought.begin("debian:12").await);
        brought.was_there("debian:12", "sha256:3").await;
        let there = image("sha256:3", &["debian:12"]);
        assert!(brought.removable(&there).is_empty());

        let loaded = records.load("instance").expect("load").unlabelled;
        assert_eq!(
            loaded,
            ["python:3.12".to_owned(), "sha256:1".to_owned()].into()
        );
        let resumed = Unlabelled::new(records.clone(), loaded);
        assert_eq!(resumed.removable(&pulled), ["python:3.12"]);
        resumed.keep_only(resumed.changes(), &[there]).await;
        let loaded = records.load("instance").expect("load").unlabelled;
        assert!(loaded.is_empty(), "{loaded:?}");
    }
}
