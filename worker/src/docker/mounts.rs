//! Folders of the machine that containers may see: the administrator's roots and what lies below them.
//!
//! A [`HostFolder`] exists only for a path whose components were all checked to be real folders, so that no symbolic
//! link in a user's output can redirect a later mount.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use dopq_common::id::{AttemptId, UserName};

use crate::disk::is_full;

/// Tries to make an attempt's folder while others of its job are removed.
const TRIES: u32 = 10;
/// The mode of the folders above one that a container sees.
const OWN_ONLY: u32 = 0o700;
/// The mode of that one.
const FOR_ALL: u32 = 0o777;

/// Where a container sees its user's workspace.
pub const WORKSPACE: &str = "/workspace";
/// Where it sees it if its image works in a folder of that name. No volume of that name is mounted there.
pub const WORKSPACE_ASIDE: &str = "/volumes/workspace";

/// A folder whose path contains no symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFolder(PathBuf);

/// A folder of the machine in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMount {
    /// Where on the machine.
    pub source: HostFolder,
    /// Where in the container.
    pub target: Cow<'static, str>,
    /// Whether it cannot be written.
    pub read_only: bool,
}

/// A path that cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// It is relative or contains `..`.
    #[error("use {}: it must be an absolute path without '..'", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A component is a symbolic link or not a folder.
    #[error("use {}: it is {what}", path.display())]
    NotAFolder {
        /// The component.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file system refused.
    #[error("use {}", path.display())]
    Io {
        /// The component.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::NotAbsolute { .. } | Self::NotAFolder { .. } => false,
        }
    }
}

impl HostFolder {
    /// Checks every component of `path`.
    ///
    /// # Errors
    /// [`MountError`] for the first component that is a link, not a folder, or missing.
    pub fn resolve(path: &Path) -> Result<Self, MountError> {
        let mut reached = PathBuf::new();
        for component in path.components() {
            match component {
                Component::RootDir => reached.push("/"),
                Component::Normal(name) if reached.is_absolute() => reached.push(name),
                Component::Normal(_)
                | Component::CurDir
                | Component::ParentDir
                | Component::Prefix(_) => {
                    return Err(MountError::NotAbsolute {
                        path: path.to_owned(),
                    });
                }
            }
            look(&reached)?;
        }
        if reached.as_os_str().is_empty() {
            return Err(MountError::NotAbsolute {
                path: path.to_owned(),
            });
        }
        Ok(Self(reached))
    }

    /// The attempt's own folder `<user>/<job>-<key>/<attempt>` below this one, as [`Self::of_user`].
    ///
    /// # Errors
    /// As there.
    pub fn for_attempt(&self, user: &UserName, attempt: AttemptId) -> Result<Self, MountError> {
        self.of_user(user, &[&job_folder(attempt), &attempt.number.to_string()])
    }

    /// The folder of all attempts of the job, `<user>/<job>-<key>`, likewise.
    ///
    /// # Errors
    /// As there.
    pub fn for_job(&self, user: &UserName, attempt: AttemptId) -> Result<Self, MountError> {
        self.of_user(user, &[&job_folder(attempt)])
    }

    /// A folder of the user's own, `<user>/<parts>` below this one; created if missing. Nobody else on this machine can
    /// enter the user's folder, so that a program which a job made setuid is out of reach.
    ///
    /// # Errors
    /// [`MountError`] if a component is a link, not a folder, or cannot be created.
    pub fn of_user(&self, user: &UserName, parts: &[&str]) -> Result<Self, MountError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.make(user, parts) {
                // The folder of the job's last attempt was removed just now.
                Err(MountError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                made => return made,
            }
        }
    }

    fn make(&self, user: &UserName, parts: &[&str]) -> Result<Self, MountError> {
        let mut folder = self.0.clone();
        for part in [user.as_str()].iter().chain(parts) {
            folder.push(part);
            match std::fs::DirBuilder::new().mode(OWN_ONLY).create(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => {
                    return Err(MountError::Io {
                        path: folder,
                        source,
                    });
                }
            }
            look(&folder)?;
        }
        close(&self.0.join(user.as_str()));
        Ok(Self(folder))
    }

    /// Lets whatever user a container runs as write there. Who may come as far as this folder is decided by those above
    /// it.
    ///
    /// # Errors
    /// [`MountError`] if the file system refuses.
    pub fn open_to_all(&self) -> Result<(), MountError> {
        let all = std::fs::Permissions::from_mode(FOR_ALL);
        std::fs::set_permissions(&self.0, all).map_err(|source| MountError::Io {
            path: self.0.clone(),
            source,
        })
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The folder of all of a job's attempts, below their user's.
#[must_use]
pub fn job_folder(attempt: AttemptId) -> String {
    format!("{}-{}", attempt.job, attempt.key.short())
}

/// Closes a folder to other accounts, as an earlier version did not.
fn close(path: &Path) {
    let open = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.permissions().mode() & 0o777 != OWN_ONLY);
    if open {
        let closed = std::fs::set_permissions(path, std::fs::Permissions::from_mode(OWN_ONLY));
        if let Err(error) = closed {
            tracing::warn!(folder = %path.display(), %error, "cannot close a folder to other accounts");
        }
    }
}

/// Refuses anything but a real folder.
fn look(path: &Path) -> Result<(), MountError> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(source) => {
            return Err(MountError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let what = if kind.is_dir() {
        return Ok(());
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "not a folder"
    };
    Err(MountError::NotAFolder {
        path: path.to_owned(),
        what,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_at_every_component() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("resolved");
        std::fs::create_dir_all(root.join("real/deep")).expect("made");
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).expect("linked");
        std::fs::write(root.join("file"), "").expect("written");
        assert_eq!(
            HostFolder::resolve(&root.join("real/deep"))
                .expect("real")
                .as_path(),
            root.join("real/deep")
        );
        for bad in ["link", "link/deep", "file", "absent", "real/../real"] {
            assert!(HostFolder::resolve(&root.join(bad)).is_err(), "{bad}");
        }
        for bad in ["", "relative", "./x", ".."] {
            let error = HostFolder::resolve(Path::new(bad)).expect_err(bad);
            assert!(matches!(error, MountError::NotAbsolute { .. }), "{error:?}");
        }
    }

    #[test]
    fn an_attempt_gets_its_own_folder_and_no_link_stands_in_for_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("resolved");
        let outdir = HostFolder::resolve(&root).expect("real");
        let (anna, eve): (UserName, UserName) =
            ("anna".parse().expect("name"), "eve".parse().expect("name"));
        let attempt: AttemptId = "7.2-00112233445566778899aabbccddeeff"
            .parse()
            .expect("attempt");
        let folder = outdir.for_attempt(&anna, attempt).expect("made");
        assert_eq!(folder.as_path(), root.join("anna/7-001122334455/2"));
        let of_anna = root.join("anna");
        let mode = || {
            let found = std::fs::metadata(&of_anna).expect("there");
            found.permissions().mode() & 0o777
        };
        assert_eq!(mode(), 0o700, "no other account can enter");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&of_anna, open).expect("opened");
        assert_eq!(outdir.for_attempt(&anna, attempt).expect("again"), folder);
        assert_eq!(mode(), 0o700, "also one that an earlier version made");
        std::fs::create_dir(root.join("eve")).expect("made");
        std::os::unix::fs::symlink("/etc", root.join("eve/7-001122334455")).expect("linked");
        assert!(outdir.for_attempt(&eve, attempt).is_err());
    }
}
