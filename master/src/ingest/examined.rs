//! Remembers which files are being examined, so that one that kills the process does not kill each next one.
//!
//! A note lies in the spool while a file is examined, and a note that is found at the start is of a file that was
//! examined when the process died. Up to [`mod@super::run`]'s number of files are examined at once, and most deaths have
//! another cause, so such a file is examined once more, and alone. When the process dies again, the file is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Deaths during its examination after which a file is refused.
const DEATHS_MAX: u32 = 2;

/// The notes; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Examined {
    folder: Arc<PathBuf>,
    /// Files that were examined when the process died, by mark, and how often.
    deaths: Arc<Mutex<BTreeMap<String, u32>>>,
    /// Held for writing by an examination that must be alone.
    alone: Arc<RwLock<()>>,
}

/// A note's content.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    mark: String,
    /// Earlier deaths during the file's examination.
    deaths: u32,
}

/// An examination; its end removes the note.
#[derive(Debug)]
pub(super) struct Examination {
    note: PathBuf,
    _turn: Turn,
}

#[derive(Debug)]
enum Turn {
    Shared(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<()>),
}

impl Drop for Examination {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.note) {
            tracing::warn!(note = %self.note.display(), %error, "failed to remove the note of an examination");
        }
    }
}

impl Examined {
    /// Opens the notes in a folder of `spool`, and takes over those that a process left when it died.
    pub(super) fn open(spool: &Path) -> io::Result<Self> {
        let folder = spool.join("examined");
        fs::create_dir_all(&folder)?;
        let mut deaths = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // A note that the death cut short has no content; its file is examined as any other.
            if let Ok(Note {
                mark,
                deaths: before,
            }) = serde_json::from_slice(&fs::read(&path)?)
            {
                deaths.insert(mark, before.saturating_add(1));
            }
            fs::remove_file(&path)?;
        }
        for (mark, count) in &deaths {
            tracing::warn!(
                file = mark,
                count,
                "the master died while it examined this file"
            );
        }
        Ok(Self {
            folder: Arc::new(folder),
            deaths: Arc::new(Mutex::new(deaths)),
            alone: Arc::default(),
        })
    }

    /// Begins the examination of a file; `None` if the process died too often during it.
    pub(super) async fn begin(&self, mark: &str) -> io::Result<Option<Examination>> {
        let deaths = self.deaths.lock().get(mark).copied().unwrap_or(0);
        let turn = match deaths {
            0 => Turn::Shared(Arc::clone(&self.alone).read_owned().await),
            DEATHS_MAX.. => return Ok(None),
            _ => Turn::Alone(Arc::clone(&self.alone).write_owned().await),
        };
        let name = blake3::hash(mark.as_bytes()).to_hex();
        let path = self.folder.join(name.as_str());
        let note = Note {
            mark: mark.to_owned(),
            deaths,
        };
        fs::write(&path, serde_json::to_vec(&note)?)?;
        Ok(Some(Examination {
            note: path,
            _turn: turn,
        }))
    }

    /// Forgets a file that has left the share.
    pub(super) fn forget(&self, mark: &str) {
        self.deaths.lock().remove(mark);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    /// Begins an examination of each and dies.
    async fn die_at(spool: &Path, marks: &[&str]) {
        let notes = Examined::open(spool).expect("opened");
        for mark in marks {
            let examination = notes.begin(mark).await.expect("noted");
            let _dead = ManuallyDrop::new(examination.expect("examined"));
        }
    }

    #[tokio::test]
    async fn a_file_that_kills_twice_is_refused_and_its_neighbours_are_not() {
        let spool = tempfile::tempdir().expect("a folder");
        let spool = spool.path();
        die_at(spool, &["bad", "good"]).await;
        die_at(spool, &["bad"]).await;
        let notes = Examined::open(spool).expect("opened");
        assert!(notes.begin("bad").await.expect("read").is_none());
        let good = notes.begin("good").await.expect("noted").expect("examined");
        drop(good);
        notes.forget("bad");
        assert!(notes.begin("bad").await.expect("noted").is_some());
        let left = fs::read_dir(spool.join("examined"))
            .expect("listed")
            .count();
        assert_eq!(left, 0, "an examination that ended leaves nothing");
    }

    #[tokio::test]
    async fn a_suspect_is_examined_alone() {
        let spool = tempfile::tempdir().expect("a folder");
        die_at(spool.path(), &["suspect"]).await;
        let notes = Examined::open(spool.path()).expect("opened");
        let (other, next) = (notes.begin("a").await, notes.begin("b").await);
        let (other, next) = (other.expect("noted"), next.expect("noted"));
        let mut waiting = Box::pin(notes.begin("suspect"));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop((other, next));
        let suspect = waiting.await.expect("noted");
        assert!(futures::poll!(Box::pin(notes.begin("c"))).is_pending());
        drop(suspect);
    }
}
