//! A watched folder, on a disk or a network share.
//!
//! Users can write there, so every name is resolved beneath the root and no link is followed. A move is a rename
//! that replaces nothing and is checked afterwards. If it moved another file, that file is moved back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dopq_common::bundle::Fault;
use dopq_common::id::UserName;
use futures::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{
    self as rfs, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat,
};
use rustix::io::Errno;
use secrecy::SecretString;
use tokio_util::io::ReaderStream;

use super::parts::{
    ACCEPTED, Content, Error, INCOMING, Listing, REJECTED, ending, is_taken, split,
};
use crate::bundles;
use crate::ingest::looks::{Found, Print};

/// Reads are of this size.
const BUFFER_BYTES: usize = 1 << 20;
/// The largest document that DoPQ writes there.
const DOCUMENT_MAX_BYTES: u64 = 1 << 20;
/// Nothing is opened outside of the root or through a link.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A watched folder.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Folder {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    folder: OwnedFd,
}

impl Folder {
    /// Opens the folder and creates its missing parts with the rights of the process's umask.
    pub(super) async fn open(
        path: PathBuf,
        options: &BTreeMap<String, SecretString>,
    ) -> Result<Self, Error> {
        if let Some(key) = options.keys().next() {
            return Err(Error::Open(bundles::Error::Settings {
                url: path.display().to_string(),
                reason: format!("a folder has no option {key:?}"),
            }));
        }
        let name = path.display().to_string();
        blocking("open", &name, move || {
            std::fs::create_dir_all(&path)?;
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rfs::open(&path, flags, Mode::empty())?;
            for part in [INCOMING, ACCEPTED, REJECTED] {
                match rfs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let root = Arc::new(Root { path, folder });
            Ok(Self { root })
        })
        .await
    }

    pub(super) fn name(&self) -> String {
        self.root.path.display().to_string()
    }

    /// Runs blocking work on the root.
    async fn with_root<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(&Root) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let root = Arc::clone(&self.root);
        blocking(action, path, move || work(&root)).await
    }

    pub(super) async fn welcome(&self, user: &UserName) -> Result<(), Error> {
        let name = user.to_string();
        self.with_root("make", &format!("{INCOMING}/{user}"), move |root| {
            let folder = root.folder(INCOMING)?;
            match rfs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Listing, Error> {
        self.with_root("list", INCOMING, |root| {
            let mut listing = Listing::default();
            for folder in root.list_one(INCOMING, "", &mut listing)? {
                let path = format!("{INCOMING}/{folder}");
                match root.list_one(&path, &format!("{folder}/"), &mut listing) {
                    Ok(deeper) => listing.ignored += deeper.len() as u64,
                    // A removed or unreadable folder must not hide the others.
                    Err(error) => {
                        tracing::debug!(%path, %error, "cannot read a folder of the share");
                        listing.ignored += 1;
                    }
                }
            }
            listing.zips.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(listing)
        })
        .await
    }

    pub(super) async fn look(&self, path: &str) -> Result<Option<Print>, Error> {
        let below = path.to_owned();
        self.with_root("look at", path, move |root| {
            let stat = || -> io::Result<Stat> {
                let (folder, name) = root.parent(&below)?;
                Ok(rfs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
            };
            match stat() {
                Ok(stat) => Ok(Some(print(&stat))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn read(&self, found: &Found) -> Result<Content, Error> {
        let path = format!("{INCOMING}/{}", found.path);
        let opened = self
            .with_root("open", &found.path, move |root| {
                // A pipe would block an ordinary open for good.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rfs::openat2(&root.folder, path, flags, Mode::empty(), BENEATH) {
                    Ok(file) => {
                        let stat = rfs::fstat(&file)?;
                        Ok(Some((File::from(file), stat)))
                    }
                    Err(Errno::LOOP | Errno::NXIO) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .await;
        let (file, stat) = match opened {
            Ok(Some((file, stat))) => (file, stat),
            Ok(None) => return Err(special(found)),
            Err(error) => return Err(gone_is_changed(error, found)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(special(found));
        }
        if print(&stat) != found.print {
            return Err(changed(found));
        }
        let path = found.path.clone();
        let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), BUFFER_BYTES)
            .map_err(move |source| failed("read", &path, source));
        Ok(stream.boxed())
    }

    pub(super) async fn document(&self, place: &str, name: &str) -> Result<Option<Bytes>, Error> {
        let path = format!("{place}/{name}");
        let below = path.clone();
        self.with_root("read", &path, move |root| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rfs::openat2(&root.folder, below, flags, Mode::empty(), BENEATH) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let mut bytes = Vec::new();
            file.take(DOCUMENT_MAX_BYTES).read_to_end(&mut bytes)?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    pub(super) async fn write(&self, place: &str, name: &str, body: Bytes) -> Result<(), Error> {
        let path = format!("{place}/{name}");
        let (place, name) = (place.to_owned(), name.to_owned());
        self.with_root("write", &path, move |root| {
            let folder = root.folder(&place)?;
            let draft = format!(".{name}.tmp");
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::TRUNC
                | OFlags::NOFOLLOW
                | OFlags::CLOEXEC;
            let file = rfs::openat(&folder, &draft, flags, Mode::from_raw_mode(0o644))?;
            let mut file = File::from(file);
            file.write_all(&body)?;
            file.sync_all()?;
            rfs::renameat(&folder, &draft, &folder, &name)?;
            Ok(rfs::fsync(&folder)?)
        })
        .await
    }

    pub(super) async fn shelve(&self, found: &Found, place: &str, stem: &str) -> Result<(), Error> {
        self.move_out(found, place, stem, false).await
    }

    /// A removal is a move, a check of what was moved, and a delete, so nothing else is ever removed. A crash in
    /// between leaves the file beside its receipt.
    pub(super) async fn remove(&self, found: &Found) -> Result<(), Error> {
        let [_, stem] = super::super::receipt::stems(&found.path, &found.mark());
        self.move_out(found, ACCEPTED, &stem, true).await
    }

    async fn move_out(
        &self,
        found: &Found,
        place: &str,
        stem: &str,
        and_remove: bool,
    ) -> Result<(), Error> {
        let (source, expected) = (found.path.clone(), found.print.clone());
        let (place, stem) = (place.to_owned(), stem.to_owned());
        let moved = self
            .with_root("move", &found.path, move |root| {
                let (from, name) = root.parent(&source)?;
                let to = root.folder(&place)?;
                let ending = ending(name);
                let new_name = move_free(from.as_fd(), name, to.as_fd(), &stem, ending)?;
                let stat = rfs::statat(&to, &new_name, AtFlags::SYMLINK_NOFOLLOW)?;
                let moved = print(&stat);
                // A rename changes only the time of change.
                let same = moved.etag == expected.etag && moved.size_bytes == expected.size_bytes;
                if !same {
                    let (stem, _) = split(name);
                    move_free(to.as_fd(), &new_name, from.as_fd(), stem, ending)?;
                } else if and_remove {
                    rfs::unlinkat(&to, &new_name, AtFlags::empty())?;
                }
                rfs::fsync(&to)?;
                rfs::fsync(&from)?;
                Ok(same)
            })
            .await;
        match moved {
            Ok(true) => Ok(()),
            Ok(false) => Err(changed(found)),
            Err(error) => Err(gone_is_changed(error, found)),
        }
    }
}

impl Root {
    /// A folder below the root.
    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rfs::openat2(
            &self.folder,
            path,
            flags,
            Mode::empty(),
            BENEATH,
        )?)
    }

    /// The folder and name of a file below `incoming/`.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        match path.rsplit_once('/') {
            Some((folder, name)) => Ok((self.folder(&format!("{INCOMING}/{folder}"))?, name)),
            None => Ok((self.folder(INCOMING)?, path)),
        }
    }

    /// Adds one folder's zips to the listing and returns its subfolders.
    fn list_one(&self, path: &str, prefix: &str, listing: &mut Listing) -> io::Result<Vec<String>> {
        let folder = self.folder(path)?;
        let mut folders = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                listing.ignored += 1;
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            let stat = match rfs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let path = format!("{prefix}{name}");
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                folders.push(name.to_owned());
            } else if is_taken(&path) {
                // Includes links and pipes; taking them refuses them with a reason.
                let print = print(&stat);
                listing.zips.push(Found { path, print });
            } else {
                listing.ignored += 1;
            }
        }
        Ok(folders)
    }
}

/// Renames to the first free name, such as `stem.zip`, `stem-2.zip` and so on, and returns it.
fn move_free(
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    stem: &str,
    ending: &str,
) -> io::Result<String> {
    let mut number = 1_u32;
    loop {
        let new_name = match number {
            1 => format!("{stem}{ending}"),
            number => format!("{stem}-{number}{ending}"),
        };
        match rfs::renameat_with(from, name, to, &new_name, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(new_name),
            Err(Errno::EXIST) => {}
            // Some network shares lack conditional renames; then check first.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rfs::statat(to, &new_name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => {
                        rfs::renameat(from, name, to, &new_name)?;
                        return Ok(new_name);
                    }
                    Ok(_) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        number = number.saturating_add(1);
    }
}

fn print(stat: &Stat) -> Print {
    Print {
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        etag: format!(
            "{:x}-{:x}.{:x}-{:x}",
            stat.st_ino, stat.st_mtime, stat.st_mtime_nsec, stat.st_size
        ),
        // A user can set the time of modification, but not that of change.
        changed: format!("{:x}.{:x}", stat.st_ctime, stat.st_ctime_nsec),
    }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
        .flatten()
        .map_err(|source| failed(action, path, source))
}

fn failed(action: &'static str, path: &str, source: io::Error) -> Error {
    Error::Folder {
        action,
        path: path.to_owned(),
        source,
    }
}

fn changed(found: &Found) -> Error {
    Error::Changed {
        path: found.path.clone(),
    }
}

fn special(found: &Found) -> Error {
    let message = "it is a link or a special file; copy the zip itself";
    Error::Refused(Fault::new("ingest_link", &found.path, message))
}

fn gone_is_changed(error: Error, found: &Found) -> Error {
    match error {
        Error::Folder { source, .. } if source.kind() == io::ErrorKind::NotFound => changed(found),
        other => other,
    }
}
