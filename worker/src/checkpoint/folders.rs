//! The `/checkpoint` folders on this machine: `<user>/<job>-<key>/<attempt>` below one folder.
//!
//! Each attempt has its own. An attempt takes over that of an earlier attempt of its job by renaming it. A folder that
//! is being filled or removed has a name that is no number.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dopq_common::id::{AttemptId, JobId, UserName};

use crate::docker::{HostFolder, MountError};
use crate::outdir::{folders, is_folder};
use crate::remove;

/// Marks a folder that is being filled.
const NEW: &str = ".new";
/// Marks a folder that is being removed.
const OLD: &str = ".old";
/// Tries to make a folder while others of its job are removed.
const TRIES: u32 = 10;

/// The folders of one job.
#[derive(Debug, Clone)]
pub(super) struct JobFolder {
    path: PathBuf,
    number: u32,
}

/// What is there for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Its own folder.
    Own,
    /// That of the latest attempt before it whose container has ended.
    Earlier(u32),
    /// No folder.
    Nothing,
}

impl JobFolder {
    /// The folder of the attempt's job; made if it is missing. Blocks.
    pub(super) fn open(
        root: &HostFolder,
        user: &UserName,
        attempt: AttemptId,
    ) -> Result<Self, MountError> {
        let folder = root.for_job(user, attempt)?;
        Ok(Self {
            path: folder.as_path().to_owned(),
            number: attempt.number,
        })
    }

    fn of(&self, number: u32) -> PathBuf {
        self.path.join(number.to_string())
    }

    /// What is there; `busy` are attempts whose containers may run. Blocks.
    pub(super) fn find(&self, busy: &BTreeSet<u32>) -> io::Result<Found> {
        if is_folder(&self.of(self.number)) {
            return Ok(Found::Own);
        }
        let earlier = self.earlier()?;
        let latest = earlier.into_iter().filter(|number| !busy.contains(number));
        Ok(latest.max().map_or(Found::Nothing, Found::Earlier))
    }

    fn earlier(&self) -> io::Result<BTreeSet<u32>> {
        let mut numbers = BTreeSet::new();
        let entries = match std::fs::read_dir(&self.path) {
            // It went with an empty one that an earlier attempt left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let number = number(&entry.file_name().to_string_lossy());
            let number = number.filter(|number| *number < self.number);
            if let Some(number) = number.filter(|_| is_folder(&entry.path())) {
                numbers.insert(number);
            }
        }
        Ok(numbers)
    }

    /// Makes an earlier attempt's folder this one's. Blocks.
    pub(super) fn take_over(&self, earlier: u32) -> io::Result<()> {
        std::fs::rename(self.of(earlier), self.of(self.number))
    }

    /// An empty folder to be filled. Blocks.
    pub(super) fn begin(&self) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{}{NEW}", self.number));
        match remove::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.path);
            match made.and_then(|()| std::fs::create_dir(&path)) {
                // The folder of the job just went with that of an earlier attempt.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                made => return made.map(|()| path),
            }
        }
    }

    /// The folder is filled: it is this attempt's from now on. Blocks.
    pub(super) fn complete(&self, filled: &Path) -> io::Result<()> {
        std::fs::rename(filled, self.of(self.number))
    }

    /// Removes what earlier attempts left, but for those whose containers may run. Blocks.
    pub(super) fn remove_earlier(&self, busy: &BTreeSet<u32>) -> io::Result<()> {
        for number in self.earlier()?.difference(busy) {
            retire(&self.of(*number))?;
        }
        Ok(())
    }
}

/// Removes a folder whose container has ended. Blocks.
pub(super) fn remove_of(root: &Path, attempt: AttemptId) -> io::Result<()> {
    for user in folders(root)? {
        let job = user.join(crate::docker::job_folder(attempt));
        let folder = job.join(attempt.number.to_string());
        if is_folder(&folder) {
            retire(&folder)?;
            // Another attempt's may be in it.
            drop(std::fs::remove_dir(&job));
        }
    }
    Ok(())
}

/// Notes that a folder is not used from now on; removes an empty one. Blocks.
pub(super) fn set_aside(root: &Path, attempt: AttemptId) -> io::Result<()> {
    for user in folders(root)? {
        let job = user.join(crate::docker::job_folder(attempt));
        let folder = job.join(attempt.number.to_string());
        if !is_folder(&folder) {
            continue;
        }
        if has_content(&folder)? {
            std::fs::File::open(folder)?.set_modified(SystemTime::now())?;
        } else {
            std::fs::remove_dir(&folder)?;
            drop(std::fs::remove_dir(&job));
        }
    }
    Ok(())
}

/// Removes the folders that were not used for `keep`, and that `is_needed` does not name by job, part of its key and
/// attempt. Blocks.
///
/// # Errors
/// The first one, after all other folders were looked at.
pub(super) fn sweep(
    root: &Path,
    keep: Duration,
    is_needed: impl Fn(JobId, &str, u32) -> bool,
) -> io::Result<()> {
    let mut swept = Ok(());
    for user in folders(root)? {
        for job in folders(&user)? {
            let name = job.file_name().unwrap_or_default().to_string_lossy();
            let Some((id, key)) = name.split_once('-') else {
                continue;
            };
            if let Ok(id) = id.parse() {
                let is_needed = |number| is_needed(id, key, number);
                let done = sweep_job(&job, keep, is_needed);
                swept = swept.and(done);
            }
        }
    }
    swept
}

/// The same for the folders of one job.
fn sweep_job(job: &Path, keep: Duration, is_needed: impl Fn(u32) -> bool) -> io::Result<()> {
    let mut swept = Ok(());
    for folder in folders(job)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let number = number(name.trim_end_matches(NEW).trim_end_matches(OLD));
        // Whatever is taken over meanwhile is gone under this name.
        let Ok(modified) = folder.metadata().and_then(|found| found.modified()) else {
            continue;
        };
        // A container can set its folder's time, also to one that is to come.
        let age = modified.elapsed().unwrap_or_else(|ahead| ahead.duration());
        if age >= keep && number.is_some_and(|number| !is_needed(number)) {
            match retire(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    swept = swept.and(Err(error));
                }
                Ok(()) | Err(_) => drop(std::fs::remove_dir(job)),
            }
        }
    }
    swept
}

/// Removes a folder, which nobody can take over from the first moment on.
fn retire(folder: &Path) -> io::Result<()> {
    let mut name = folder.as_os_str().to_owned();
    if !folder.to_string_lossy().ends_with(OLD) {
        name.push(OLD);
        match std::fs::rename(folder, &name) {
            // A removal that was interrupted is in the way.
            Err(_) if is_folder(Path::new(&name)) => {
                remove::remove(Path::new(&name))?;
                std::fs::rename(folder, &name)?;
            }
            renamed => renamed?,
        }
    }
    remove::remove(Path::new(&name))
}

/// The number of an attempt as it is written.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Whether a folder has anything in it. Blocks.
pub(super) fn has_content(folder: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_to_come_keeps_no_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let of = |name: &str| root.path().join("eve/7-070707070707").join(name);
        let day = Duration::from_secs(24 * 3600);
        for (name, time) in [
            ("1", SystemTime::now() + 365 * day),
            ("2", SystemTime::now() - 2 * day),
            ("3", SystemTime::now()),
        ] {
            std::fs::create_dir_all(of(name)).expect("made");
            let folder = std::fs::File::open(of(name)).expect("opened");
            folder.set_modified(time).expect("set");
        }
        sweep(root.path(), day, |_, _, _| false).expect("swept");
        let left = ["1", "2", "3"].map(|name| of(name).exists());
        assert_eq!(left, [false, false, true]);
    }

    #[test]
    fn a_deep_folder_goes_also_where_a_removal_was_interrupted() {
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, old) = (folder.path().join("1"), folder.path().join("1.old"));
        for top in [&kept, &old] {
            std::fs::create_dir_all(top.join("d/".repeat(1_500))).expect("made");
        }
        retire(&kept).expect("removed");
        assert!(folders(folder.path()).expect("read").is_empty());
    }
}
