//! Removes the `/outdir` folders of attempts that are over: `<user>/<job>-<key>/<attempt>` below the outdir.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use dopq_common::agent::State;
use dopq_common::id::AttemptId;

use crate::docker::job_folder;
use crate::remove;

/// Removes the folder of a forgotten attempt, and its job's if that was the last. Blocks.
pub(crate) fn remove(outdir: &Path, attempt: AttemptId) -> io::Result<()> {
    for user in folders(outdir)? {
        let job = user.join(job_folder(attempt));
        let folder = job.join(attempt.number.to_string());
        if is_folder(&folder) {
            remove::remove(&folder)?;
            remove_if_empty(&job);
        }
    }
    Ok(())
}

/// The folders that a crash left. In a folder that is this worker's own they are those of all attempts that are not
/// under way; in one that others may use as well, those of its own attempts that are over. Blocks.
pub(crate) fn leftovers(outdir: &Path, is_own: bool, state: &State) -> io::Result<Vec<PathBuf>> {
    let attempts = state.attempts();
    let known = attempts.filter(|attempt| attempt.stage.is_closed() != is_own);
    let known: BTreeSet<_> = known
        .map(|attempt| (job_folder(attempt.id), attempt.id.number.to_string()))
        .collect();
    let mut left = Vec::new();
    for user in folders(outdir)? {
        for job in folders(&user)? {
            let attempts = folders(&job)?;
            let goes = |folder: &PathBuf| known.contains(&(name(&job), name(folder))) != is_own;
            left.extend(attempts.into_iter().filter(goes));
        }
    }
    Ok(left)
}

/// Removes leftovers. Blocks.
pub(crate) fn remove_all(leftovers: &[PathBuf]) {
    for folder in leftovers {
        match remove::remove(folder) {
            Ok(()) => folder.parent().map_or((), remove_if_empty),
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "failed to remove a leftover");
            }
        }
    }
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The folders in a folder, without links to others.
pub(crate) fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether it is a folder, and no link to one.
pub(crate) fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn remove_if_empty(folder: &Path) {
    match std::fs::remove_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        Err(error) => {
            tracing::debug!(folder = %folder.display(), %error, "failed to remove a job's folder");
        }
    }
}
