//! The master's private folder: one process at a time, nobody else's eyes, and the secret in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::Error;

/// The folder, locked for as long as this value lives.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder when it is absent, closes it to others, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let fault = |source| Error::DataDir {
            path: path.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(fault)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(fault)?;
        // Absolute, because containers' mounts and messages are made of it.
        let path = fs::canonicalize(path).map_err(fault)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path }),
            Err(TryLockError::Error(source)) => Err(fault(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret that is kept here, made at the first call.
    pub(super) fn secret(&self) -> Result<SecretString, Error> {
        let fault = |source| Error::DataDir {
            path: self.join("secret"),
            source,
        };
        let path = self.join("secret");
        match File::open(&path) {
            Ok(mut file) => {
                let mut secret = String::new();
                file.read_to_string(&mut secret).map_err(fault)?;
                return Ok(secret.trim().into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(error)),
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| fault(io::Error::other(error)))?;
        let secret = hex::encode(bytes);
        self.write_private("secret", &secret)?;
        Ok(secret.into())
    }

    /// Writes `content` and a line end to a file that only this user may read, whole or not at all.
    pub(super) fn write_private(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        let written = || -> io::Result<()> {
            let new = self.join(&format!("{name}.new"));
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            // A file that was there before keeps its own mode.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            writeln!(file, "{content}")?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        };
        match written() {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::DataDir { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_process_at_a_time_and_nobody_elses_eyes() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("a/b");
        let data = DataDir::open(&path).expect("opens");
        assert!(matches!(DataDir::open(&path), Err(Error::InUse { .. })));
        let secret = data.secret().expect("made");
        let secret = secret.expose_secret();
        assert_eq!(secret.len(), 64);
        assert_eq!(data.secret().expect("kept").expose_secret(), secret);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&data.join("secret")), 0o600);
        drop(data);
        DataDir::open(&path).expect("free again");
    }
}
