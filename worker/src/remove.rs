//! Removes a folder that a container filled: nests of any depth, with a few open files and little memory.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode};
use rustix::io::Errno;

use crate::handles::FOLDER;

/// Removes a folder with all that is in it. Blocks.
///
/// # Errors
/// The first one, after everything else is removed.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    let mut removal = Removal {
        top: rustix::fs::open(folder, FOLDER, Mode::empty())?,
        names: 0,
        failed: None,
    };
    // What is moved up while the folder is read may be missed by the read.
    while removal.pass()? {}
    match removal.failed {
        None => std::fs::remove_dir(folder),
        Some(error) => Err(error.into()),
    }
}

struct Removal {
    /// The folder. Folders from below are moved into it, so that none is ever deep.
    top: OwnedFd,
    /// Number of names given to moved folders.
    names: u64,
    failed: Option<Errno>,
}

impl Removal {
    /// Empties the folders in the top one; whether anything went or moved.
    fn pass(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for entry in Dir::read_from(&self.top)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_itself(name) {
                continue;
            }
            let mut removed = unlink(&self.top, name);
            if removed == Err(Errno::NOTEMPTY) {
                changed |= self.empty(name);
                removed = unlink(&self.top, name);
            }
            match removed {
                Ok(()) => changed = true,
                Err(error) => self.note(error),
            }
        }
        if changed {
            // Another pass tries again.
            self.failed = None;
        }
        Ok(changed)
    }

    /// Empties one folder in the top one; whether anything went or moved.
    fn empty(&mut self, name: &CStr) -> bool {
        let opened = rustix::fs::openat(&self.top, name, FOLDER, Mode::empty());
        let read = opened.and_then(|folder| Ok((Dir::read_from(&folder)?, folder)));
        let (entries, folder) = match read {
            Ok(read) => read,
            Err(error) => {
                self.note(error);
                return false;
            }
        };
        let mut changed = false;
        for entry in entries {
            let done = match entry {
                Ok(entry) if is_itself(entry.file_name()) => continue,
                Ok(entry) => match unlink(&folder, entry.file_name()) {
                    Err(Errno::NOTEMPTY) => self.move_up(&folder, entry.file_name()),
                    removed => removed,
                },
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => changed = true,
                Err(error) => self.note(error),
            }
        }
        changed
    }

    /// Moves a folder into the top one, under a name that is free there.
    fn move_up(&mut self, folder: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
        loop {
            let free = self.names.to_string();
            self.names += 1;
            match rustix::fs::renameat(folder, name, &self.top, free) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                done => return done,
            }
        }
    }

    fn note(&mut self, error: Errno) {
        self.failed.get_or_insert(error);
    }
}

fn is_itself(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Removes a file, a link or an empty folder.
fn unlink(folder: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set where the test runs itself again with few open files.
    const AGAIN: &str = "DOPQ_TEST_REMOVE";

    fn nest(folder: &Path, levels: usize) -> OwnedFd {
        let mut handle = rustix::fs::open(folder, FOLDER, Mode::empty()).expect("opened");
        for _ in 0..levels {
            rustix::fs::mkdirat(&handle, "0", Mode::RWXU).expect("made");
            rustix::fs::mkdirat(&handle, "beside", Mode::RWXU).expect("made");
            handle = rustix::fs::openat(&handle, "0", FOLDER, Mode::empty()).expect("opened");
        }
        handle
    }

    #[test]
    fn a_nest_deeper_than_files_may_be_open_goes() {
        if std::env::var_os(AGAIN).is_none() {
            let test = std::env::current_exe().expect("this program");
            let name = "remove::tests::a_nest_deeper_than_files_may_be_open_goes";
            let mut again = Command::new("sh");
            let again = again.args(["-c", "ulimit -n 64; exec \"$0\" --exact \"$1\""]);
            let again = again.arg(test).arg(name).env(AGAIN, "1").output();
            let again = again.expect("it runs");
            let told = String::from_utf8_lossy(&again.stdout);
            assert!(
                again.status.success() && told.contains("1 passed"),
                "{told}"
            );
            return;
        }
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("outdir");
        std::fs::create_dir(&folder).expect("made");
        let deepest = nest(&folder, 3_000);
        rustix::fs::symlinkat(home.path(), &deepest, "link").expect("linked");
        // Names that moved folders would have.
        std::fs::write(folder.join("1"), "a file").expect("written");
        nest(&folder.join("beside"), 300);
        remove(&folder).expect("removed");
        assert!(std::fs::symlink_metadata(&folder).is_err());
        assert!(home.path().exists(), "links are not followed");
    }

    #[test]
    fn what_cannot_be_removed_is_told() {
        let home = tempfile::tempdir().expect("a folder");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).expect("linked");
        assert!(remove(&link).is_err(), "a link is no folder");
        assert!(remove(&home.path().join("gone")).is_err());
        assert!(home.path().exists());
    }
}
