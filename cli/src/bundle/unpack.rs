//! Unpacks results into a new folder. A container can write anything to `/outdir`, so nothing is written outside the
//! folder, over an existing file, or through a link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType};

/// Why results cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The target exists.
    #[error("{} exists; remove it or choose another folder with --into", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// An entry outside the folder.
    #[error("the archive contains {name:?}, which is outside the folder")]
    Escapes {
        /// Its name.
        name: String,
    },
    /// The archive is cut or damaged.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// A file cannot be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// How many files.
    pub(crate) files: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Links and special files, which are left out.
    pub(crate) skipped: Vec<String>,
}

/// Unpacks the archive into `target`, which must not exist. The folder gets its name once it is
/// complete.
pub(crate) fn unpack(archive: impl Read, target: &Path) -> Result<Unpacked, UnpackError> {
    if fs::symlink_metadata(target).is_ok() {
        return Err(UnpackError::Exists {
            path: target.to_owned(),
        });
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let write = |source| UnpackError::Write {
        path: target.to_owned(),
        source,
    };
    fs::create_dir_all(parent).map_err(write)?;
    let staging = tempfile::Builder::new()
        .prefix(".dopq-")
        .tempdir_in(parent)
        .map_err(write)?;
    // A folder inside, because only the owner may enter the temporary one.
    let root = staging.path().join("results");
    fs::create_dir(&root).map_err(write)?;
    let unpacked = fill(archive, &root)?;
    fs::rename(&root, target).map_err(write)?;
    Ok(unpacked)
}

fn fill(archive: impl Read, root: &Path) -> Result<Unpacked, UnpackError> {
    let mut unpacked = Unpacked::default();
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let relative = inside(&entry.path().map_err(UnpackError::Read)?)
            .ok_or_else(|| UnpackError::Escapes { name: name.clone() })?;
        let path = root.join(relative);
        let write = |source| UnpackError::Write {
            path: path.clone(),
            source,
        };
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            fs::create_dir_all(&path).map_err(write)?;
        } else if matches!(kind, EntryType::Regular | EntryType::Continuous) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(write)?;
            }
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
            let mut file = create(&path, executable).map_err(write)?;
            unpacked.bytes += io::copy(&mut entry, &mut file).map_err(UnpackError::Read)?;
            unpacked.files += 1;
        } else {
            unpacked.skipped.push(name);
        }
    }
    Ok(unpacked)
}

/// The path if it stays inside the folder.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => relative.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(relative)
}

/// A new file, never an existing one; the umask still applies.
fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if executable { 0o777 } else { 0o666 });
    }
    #[cfg(not(unix))]
    let _ = executable;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            // Written by hand, because the library refuses to make hostile names.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            if *kind == EntryType::Symlink {
                header.set_link_name(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_and_folders_come_back() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("new/out");
        let tar = archive(&[
            ("./", EntryType::Directory, ""),
            ("model/weights.bin", EntryType::Regular, "12345"),
            ("log.txt", EntryType::Regular, "ok"),
            ("empty/", EntryType::Directory, ""),
        ]);
        let unpacked = unpack(tar.as_slice(), &target).unwrap();
        assert_eq!((unpacked.files, unpacked.bytes), (2, 7));
        assert_eq!(
            fs::read(target.join("model/weights.bin")).unwrap(),
            b"12345"
        );
        assert!(target.join("empty").is_dir());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(target.join("log.txt"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7000, 0, "setuid is not taken over");
        }
        assert!(matches!(
            unpack(tar.as_slice(), &target),
            Err(UnpackError::Exists { .. })
        ));
    }

    #[test]
    fn nothing_lands_outside_and_nothing_half() {
        for name in ["../evil", "/evil", "a/../../evil"] {
            let home = tempfile::tempdir().unwrap();
            let target = home.path().join("out");
            let tar = archive(&[
                ("good", EntryType::Regular, "x"),
                (name, EntryType::Regular, "x"),
            ]);
            assert!(
                matches!(
                    unpack(tar.as_slice(), &target),
                    Err(UnpackError::Escapes { .. })
                ),
                "{name}"
            );
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{name}");
        }
    }

    #[test]
    fn links_are_told_and_not_made() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let tar = archive(&[
            ("way", EntryType::Symlink, "/etc"),
            ("way/passwd", EntryType::Regular, "x"),
        ]);
        let unpacked = unpack(tar.as_slice(), &target).unwrap();
        assert_eq!(unpacked.skipped, ["way"]);
        assert_eq!(fs::read(target.join("way/passwd")).unwrap(), b"x");
    }

    #[test]
    fn a_cut_archive_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("out");
        let tar = archive(&[("big", EntryType::Regular, &"x".repeat(5_000))]);
        let (cut, _) = tar.split_at(3_000);
        assert!(matches!(unpack(cut, &target), Err(UnpackError::Read(_))));
        assert!(!target.exists());
    }
}
