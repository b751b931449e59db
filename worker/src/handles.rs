//! Opens what lies in folders that containers fill: by handles, name by name, so that no link leads elsewhere.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::path::Arg;

/// How folders are opened.
pub(crate) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the folder that a walk begins with.
pub(crate) fn root(folder: &Path) -> io::Result<File> {
    let handle = rustix::fs::open(folder, FOLDER, Mode::empty())?;
    Ok(File::from(handle))
}

/// Opens a folder in another.
pub(crate) fn folder(parent: impl AsFd, name: impl Arg) -> io::Result<File> {
    let handle = rustix::fs::openat(parent, name, FOLDER, Mode::empty())?;
    Ok(File::from(handle))
}

/// Opens a file in a folder to read it.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] also if something else took its place.
pub(crate) fn file(parent: impl AsFd, name: impl Arg) -> io::Result<File> {
    // Without NONBLOCK a pipe that took the file's place would hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let what = "it is no file any more";
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}
