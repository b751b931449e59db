//! Opens what lies below a folder by its path, name by name, so that no link leads elsewhere.

use std::fs::File;
use std::io;

use rustix::fs::{Mode, OFlags};

use crate::handles;
pub(super) use crate::handles::{folder, root};

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
    handles::file(&parent, name)
}

/// Makes a new file.
pub(super) fn new_file(root: &File, path: &str) -> io::Result<File> {
    let (parent, name) = parent(root, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(File::from(rustix::fs::openat(&parent, name, flags, mode)?))
}
