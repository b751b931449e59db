//! Lists the files of a folder in a fixed order, without what never belongs in a bundle.
//!
//! Links to files inside the folder are followed; links that leave it are refused, so that no other file gets into a
//! bundle by accident. The build applies `.dockerignore`.

use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use super::error::Error;

/// Never packed, at any depth: version control, caches that the image would not use, and the project's
/// DoPQ settings, which may contain a token.
const LEFT_OUT: [&str; 14] = [
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".jj",
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    ".tox",
    ".DS_Store",
    ".dopq.toml",
];

/// A file to pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the zip, with slashes.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whether its owner may execute it.
    pub(super) executable: bool,
    /// Bytes, when it was looked at.
    pub(super) size_bytes: u64,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// By name, in byte order.
    pub(super) entries: Vec<Entry>,
    /// What was left out.
    pub(super) left_out: Vec<String>,
    refused: Vec<String>,
}

/// Walks the folder.
pub(super) fn walk(root: &Path) -> Result<Walk, Error> {
    let real_root = fs::canonicalize(root).map_err(|source| Error::Read {
        path: root.to_owned(),
        source,
    })?;
    let mut walk = Walk::default();
    walk.folder(&real_root, root, "")?;
    if !walk.refused.is_empty() {
        walk.refused.sort();
        return Err(Error::Entries(walk.refused));
    }
    walk.entries.sort_by(|a, b| a.name.cmp(&b.name));
    walk.left_out.sort();
    Ok(walk)
}

impl Walk {
    fn folder(&mut self, real_root: &Path, path: &Path, prefix: &str) -> Result<(), Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        for found in fs::read_dir(path).map_err(read)? {
            let found = found.map_err(read)?;
            let Ok(name) = found.file_name().into_string() else {
                let shown = found.file_name().to_string_lossy().into_owned();
                self.refused
                    .push(format!("the name of {prefix}{shown} is not UTF-8"));
                continue;
            };
            let full = format!("{prefix}{name}");
            if LEFT_OUT.contains(&name.as_str()) {
                self.left_out.push(full);
                continue;
            }
            let kind = found.file_type().map_err(|source| Error::Read {
                path: found.path(),
                source,
            })?;
            self.entry(real_root, found.path(), full, kind)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        real_root: &Path,
        path: PathBuf,
        name: String,
        kind: FileType,
    ) -> Result<(), Error> {
        if kind.is_dir() {
            return self.folder(real_root, &path, &format!("{name}/"));
        }
        let path = if kind.is_symlink() {
            match fs::canonicalize(&path) {
                Ok(target) if target.starts_with(real_root) => target,
                Ok(target) => {
                    self.refused.push(format!(
                        "{name} is a link to {}, outside the folder; copy the file instead",
                        target.display()
                    ));
                    return Ok(());
                }
                Err(error) => {
                    self.refused
                        .push(format!("{name} is a broken link ({error})"));
                    return Ok(());
                }
            }
        } else {
            path
        };
        let facts = fs::metadata(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        if facts.is_dir() {
            self.refused.push(format!(
                "{name} is a link to a folder; copy the folder instead"
            ));
        } else if facts.is_file() {
            self.entries.push(Entry {
                name,
                executable: is_executable(&facts),
                size_bytes: facts.len(),
                path,
            });
        } else {
            // Sockets, pipes and devices have no content to pack.
            self.left_out.push(name);
        }
        Ok(())
    }
}

#[cfg(unix)]
fn is_executable(facts: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    facts.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_facts: &fs::Metadata) -> bool {
    false
}
