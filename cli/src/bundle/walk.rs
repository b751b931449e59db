//! Lists the files of a folder in a fixed order, without what never belongs in a bundle.
//!
//! What `.dockerignore` leaves out of a build is not packed; an ignored folder is not even looked into, unless the file
//! takes something back with `!`. Links inside the folder are followed, because a bundle has none; links that leave it
//! are refused, so that no other file gets into a bundle by accident.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};

use dopq_common::bundle::ignore::{IGNORE_MAX_BYTES, Ignore};

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

/// Packed even if `.dockerignore` names them: DoPQ and the builder need them.
const ALWAYS: [&str; 5] = [
    "container_config.json",
    "Dockerfile",
    "Dockerfile.dockerignore",
    ".dockerignore",
    "image.tar",
];

/// Links to folders within folders that links lead to; more are refused. Each can double what is packed.
const MOST_NESTED_LINKS: usize = 4;

/// A file to pack, or an empty folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the zip, with slashes; a folder's ends with one.
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
    /// What was left out, besides what `.dockerignore` names.
    pub(super) left_out: Vec<String>,
    ignore: Ignore,
    /// The folders with the links to folders that are being followed.
    followed: Vec<PathBuf>,
    refused: Vec<String>,
}

/// Walks the folder.
pub(super) fn walk(root: &Path) -> Result<Walk, Error> {
    let real_root = fs::canonicalize(root).map_err(|source| Error::Read {
        path: root.to_owned(),
        source,
    })?;
    let mut walk = Walk::default();
    match ignore(root) {
        Ok(ignore) => walk.ignore = ignore,
        Err(refused) => walk.refused.push(refused),
    }
    walk.folder(&real_root, &real_root, "")?;
    if !walk.refused.is_empty() {
        walk.refused.sort();
        return Err(Error::Entries(walk.refused));
    }
    walk.entries.sort_by(|a, b| a.name.cmp(&b.name));
    walk.left_out.sort();
    Ok(walk)
}

/// The patterns of the folder, or why its file is refused. A Dockerfile's own file comes first, as in Docker.
fn ignore(root: &Path) -> Result<Ignore, String> {
    for name in ["Dockerfile.dockerignore", ".dockerignore"] {
        let path = root.join(name);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{name} cannot be read ({error})")),
            Ok(facts) if facts.len() > IGNORE_MAX_BYTES => {
                return Err(format!("{name} has more than {IGNORE_MAX_BYTES} bytes"));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        return Ignore::parse(&text).map_err(|error| error.to_string());
    }
    Ok(Ignore::default())
}

impl Walk {
    /// The folders at the top with the most bytes, the largest first.
    pub(super) fn largest(&self, most: usize) -> Vec<(String, u64)> {
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &self.entries {
            let top = entry
                .name
                .split_once('/')
                .map_or(entry.name.as_str(), |(top, _)| top);
            *sizes.entry(top).or_default() += entry.size_bytes;
        }
        let mut sizes: Vec<_> = sizes
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sizes.truncate(most);
        sizes
    }

    fn folder(&mut self, real_root: &Path, path: &Path, prefix: &str) -> Result<(), Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let packed = self.entries.len();
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
            let covered = !ALWAYS.contains(&full.as_str()) && self.ignore.covers(&full);
            if covered && !(kind.is_dir() && self.ignore.has_exceptions()) {
                continue;
            }
            self.entry(real_root, found.path(), full, kind)?;
        }
        let folder = prefix.trim_end_matches('/');
        if self.entries.len() == packed && !folder.is_empty() && !self.ignore.covers(folder) {
            self.entries.push(Entry {
                name: prefix.to_owned(),
                path: path.to_owned(),
                executable: true,
                size_bytes: 0,
            });
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
                Ok(target) if target.starts_with(real_root) && target.is_dir() => {
                    return self.linked_folder(real_root, &path, &target, &name);
                }
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
        if facts.is_file() {
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

    /// Packs the folder at `target` as `name`, where `link` leads to it.
    fn linked_folder(
        &mut self,
        real_root: &Path,
        link: &Path,
        target: &Path,
        name: &str,
    ) -> Result<(), Error> {
        // Paths of folders have no links in them: the walk starts at a real one and goes on at a link's target.
        let folder = link.parent().unwrap_or(real_root).to_owned();
        let is_below = |folder: &PathBuf| folder.starts_with(target);
        if is_below(&folder) || self.followed.iter().any(is_below) {
            let refused = format!("{name} is a link to a folder above it; remove the link");
            self.refused.push(refused);
            return Ok(());
        }
        if self.followed.len() == MOST_NESTED_LINKS {
            let refused = format!("{name} is a link to a folder, below {MOST_NESTED_LINKS} others");
            self.refused.push(refused);
            return Ok(());
        }
        self.followed.push(folder);
        let walked = self.folder(real_root, target, &format!("{name}/"));
        self.followed.pop();
        walked
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
