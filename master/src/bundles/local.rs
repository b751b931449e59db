//! Writes a small object into a local folder, durably.
//!
//! `object_store` syncs the folders of a new path one after the other. Here they are synced at once, which takes a
//! disk little longer than one of them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::try_join_all;

/// Writes the file and the folders that it needs. They are durable when this returns; the file is there whole or
/// not at all.
pub(super) async fn put(target: PathBuf, body: Bytes) -> io::Result<()> {
    let changed = blocking(move || write(&target, &body)).await?;
    let synced = changed
        .into_iter()
        .map(|folder| blocking(move || File::open(folder)?.sync_all()));
    try_join_all(synced).await.map(drop)
}

/// The files below `root` whose writing was cut off, or goes on: their names below it.
pub(super) async fn unfinished(root: PathBuf) -> io::Result<Vec<(String, Metadata)>> {
    blocking(move || {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let Some(entries) = there(std::fs::read_dir(root.join(&folder)))? else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let (Some(name), Some(kind)) = (name.to_str(), there(entry.file_type())?) else {
                    continue;
                };
                let below = format!("{folder}{name}");
                if kind.is_dir() {
                    folders.push(format!("{below}/"));
                } else if kind.is_file()
                    && finished_name(&below).is_some()
                    && let Some(metadata) = there(entry.metadata())?
                {
                    found.push((below, metadata));
                }
            }
        }
        Ok(found)
    })
    .await
}

/// The name that a file gets when it is written whole; `None` if it has it.
pub(crate) fn finished_name(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(name)
}

/// `None` of what was removed meanwhile.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file that is no object of the store.
pub(super) async fn remove(path: PathBuf) -> io::Result<()> {
    blocking(move || there(std::fs::remove_file(path)).map(drop)).await
}

/// Writes the file; gives the folders that have new entries.
fn write(target: &Path, body: &[u8]) -> io::Result<Vec<PathBuf>> {
    let folder = target.parent().unwrap_or(target);
    let mut changed = vec![folder.to_owned()];
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    changed.extend(missing.filter_map(Path::parent).map(Path::to_owned));
    std::fs::create_dir_all(folder)?;
    let (staged, mut file) = stage(target)?;
    let written = file
        .write_all(body)
        .and_then(|()| file.sync_data())
        .and_then(|()| std::fs::rename(&staged, target));
    if written.is_err()
        && let Err(error) = std::fs::remove_file(&staged)
    {
        tracing::debug!(path = %staged.display(), %error, "failed to remove what was written in part");
    }
    written.map(|()| changed)
}

/// A new file beside `target`, with a name that `object_store` does not list.
fn stage(target: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let path = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // Left by an earlier process.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_there_whole_and_nothing_else_is() {
        let root = tempfile::tempdir().expect("a folder");
        let target = root.path().join("a/b/c/file");
        // A process that was killed left this.
        std::fs::create_dir_all(root.path().join("a")).expect("a folder");
        std::fs::write(root.path().join("a/file#1"), "x").expect("written");
        for text in ["first", "the second"] {
            let body = Bytes::from_static(text.as_bytes());
            put(target.clone(), body).await.expect("put");
            assert_eq!(std::fs::read_to_string(&target).expect("read"), text);
        }
        let beside = std::fs::read_dir(root.path().join("a/b/c")).expect("a folder");
        assert_eq!(beside.count(), 1);
    }

    #[tokio::test]
    async fn only_unfinished_files_are_found() {
        let root = tempfile::tempdir().expect("a folder");
        let below = root.path().join("a/b");
        std::fs::create_dir_all(&below).expect("a folder");
        for name in ["a/b/file#12", "a/file", "a/file#", "a/file#x", "a/b#c"] {
            std::fs::write(root.path().join(name), "x").expect("written");
        }
        let found = unfinished(root.path().to_owned()).await.expect("read");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/b/file#12"]);
        assert_eq!(finished_name("a/b/file#12"), Some("a/b/file"));
    }

    #[test]
    fn every_folder_with_a_new_entry_is_synced() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let changed = write(&root.join("a/b/file"), b"x").expect("written");
        assert_eq!(changed, [root.join("a/b"), root.join("a"), root.to_owned()]);
        let changed = write(&root.join("a/b/other"), b"x").expect("written");
        assert_eq!(changed, [root.join("a/b")]);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_leaves_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        // A folder that is not empty cannot be replaced by a file.
        let target = root.path().join("taken");
        std::fs::create_dir_all(target.join("below")).expect("a folder");
        put(target, Bytes::from_static(b"x"))
            .await
            .expect_err("taken");
        let left = std::fs::read_dir(root.path()).expect("a folder");
        assert_eq!(left.count(), 1);
    }
}
