//! Opens what lies below a folder by its path, name by name, so that no link leads elsewhere.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the folder itself.
pub(super) fn root(folder: &Path) -> io::Result<File> {
    let handle = rustix::fs::open(folder, FOLDER, Mode::empty())?;
    Ok(File::from(handle))
}

/// Opens a folder in another.
pub(super) fn folder(parent: &File, name: &str) -> io::Result<File> {
    let handle = rustix::fs::openat(parent, name, FOLDER, Mode::empty())?;
    Ok(File::from(handle))
}

/// Opens the folder in which the path's last name is.
pub(super) fn parent<'p>(root: &File, path: &'p str) -> io::Result<(File, &'p str)> {
    let Some((above, name)) = path.rsplit_once('/') else {
        return Ok((root.try_clone()?, path));
    };
    let mut reached = root.try_clone()?;
    for part in above.split('/') {
        reached = folder(&reached, part)?;
    }
    Ok((reached, name))
}

/// Opens a file to read it.
pub(super) fn file(root: &File, path: &str) -> io::Result<File> {
    let (parent, name) = parent(root, path)?;
    // Without NONBLOCK a pipe that took the file's place would hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Makes a new file.
pub(super) fn new_file(root: &File, path: &str) -> io::Result<File> {
    let (parent, name) = parent(root, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(File::from(rustix::fs::openat(&parent, name, flags, mode)?))
}
