//! How the administrator describes a volume: `/data/imagenet read-only groups: vision nlp`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dopq_common::id::{GroupName, VolumeName};
use dopq_common::resources::{ByteSize, Volume};
use dopq_common::settings::{Layers, Named, Scalar};

const READ_ONLY: &str = "read-only";
const READ_WRITE: &str = "read-write";
const GROUPS: &str = "groups:";

dopq_common::settings! {
    /// Folders of the machine that outlive jobs.
    #[derive(Debug, Clone)]
    pub struct VolumeOptions {
        /// Folder with one folder per user, which all jobs of that user see as /workspace; it must exist
        pub workspace: Option<PathBuf> = None, is_folder_path;
        /// What has a /workspace of its own: user, or job-name (each job name of a user)
        pub workspace_per: WorkspacePer = WorkspacePer::User;
        /// Size of all that one user keeps in /workspace on this machine; above it no job with GPUs starts, and jobs are stopped
        pub workspace_quota: Option<ByteSize> = None;
        /// Folders that jobs ask for by name and see as /volumes/NAME: PATH, then read-only or read-write, then groups: and the names of groups
        pub named: BTreeMap<String, VolumeSetting> = BTreeMap::new();
    }
}

/// What has a `/workspace` of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspacePer {
    /// Each user.
    User,
    /// Each job name of a user.
    JobName,
}

impl Named for WorkspacePer {
    const NAMES: &'static [(&'static str, Self)] =
        &[("user", Self::User), ("job-name", Self::JobName)];
}

fn is_folder_path(path: &PathBuf) -> Result<(), String> {
    match path {
        path if path.is_absolute() => Ok(()),
        path if path.to_string_lossy().contains("://") => Err(
            "a bucket or a file server cannot be mounted into containers; mount it on the machine and name the folder"
                .to_owned(),
        ),
        path => Err(format!("{} is not an absolute path", path.display())),
    }
}

/// A folder of this machine and who may use it how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSetting {
    /// Where it is.
    pub path: PathBuf,
    /// What the masters are told of it.
    pub volume: Volume,
}

impl Scalar for VolumeSetting {
    /// Words are separated by spaces or commas, because only spaces can stand in an environment variable's table.
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        let path = words.next().map(Path::new);
        let path = path.filter(|path| path.is_absolute()).ok_or_else(|| {
            format!("{text:?} does not begin with an absolute path; write /data/imagenet {READ_ONLY} {GROUPS} vision")
        })?;
        let mut read_only = true;
        let mut groups: Option<BTreeSet<GroupName>> = None;
        for word in words {
            let name = match (word, word.strip_prefix(GROUPS)) {
                (READ_ONLY, _) => {
                    read_only = true;
                    continue;
                }
                (READ_WRITE, _) => {
                    read_only = false;
                    continue;
                }
                (_, Some(name)) => {
                    groups.get_or_insert_default();
                    name
                }
                (name, None) if groups.is_some() => name,
                (word, None) => {
                    return Err(format!(
                        "{word:?} is none of {READ_ONLY}, {READ_WRITE} and {GROUPS} with names; paths cannot contain spaces or commas"
                    ));
                }
            };
            if !name.is_empty() {
                let group = name.parse().map_err(|error| format!("{error}"))?;
                groups.get_or_insert_default().insert(group);
            }
        }
        if groups.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(format!("{GROUPS} must be followed by the names of groups"));
        }
        let volume = Volume {
            read_only,
            groups: groups.unwrap_or_default(),
        };
        Ok(Self {
            path: path.to_owned(),
            volume,
        })
    }

    fn show(&self) -> String {
        let mode = if self.volume.read_only {
            READ_ONLY
        } else {
            READ_WRITE
        };
        let mut text = format!("{} {mode}", self.path.display());
        for (at, group) in self.volume.groups.iter().enumerate() {
            let before = if at == 0 { " groups: " } else { " " };
            text.push_str(before);
            text.push_str(group.as_str());
        }
        text
    }
}

impl VolumeOptions {
    /// Notes what is wrong with these settings, whose keys begin with `prefix`.
    pub fn check(&self, layers: &mut Layers, prefix: &str) {
        let key = format!("{prefix}named");
        for name in self.named.keys() {
            match name.parse::<VolumeName>() {
                Ok(name) if name == VolumeName::workspace() => {
                    let message = format!("{name} is not a volume; set {prefix}workspace");
                    layers.refuse(&key, message);
                }
                Ok(_) => {}
                Err(error) => layers.refuse(&key, error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_path_a_mode_and_groups() {
        for (text, shown) in [
            ("/data/imagenet", "/data/imagenet read-only"),
            ("/d, read-write", "/d read-write"),
            (
                "/d, read-only, groups: vision, nlp",
                "/d read-only groups: nlp vision",
            ),
            (
                "/d groups:vision read-write",
                "/d read-write groups: vision",
            ),
        ] {
            let read = VolumeSetting::read(text).expect(text);
            assert_eq!(read.show(), shown);
            assert_eq!(VolumeSetting::read(shown).expect(shown), read);
        }
        for (bad, told) in [
            ("", "absolute path"),
            ("data", "absolute path"),
            ("nfs://host/data", "absolute path"),
            ("/my data", "cannot contain spaces"),
            ("/d ro", "read-only"),
            ("/d groups:", "names of groups"),
            ("/d groups: a/b", "group name"),
        ] {
            let error = VolumeSetting::read(bad).expect_err(bad);
            assert!(error.contains(told), "{bad}: {error}");
        }
    }

    #[test]
    fn a_workspace_is_a_folder_of_the_machine() {
        assert_eq!(is_folder_path(&PathBuf::from("/srv/workspace")), Ok(()));
        for (bad, told) in [
            ("s3://bucket/users", "cannot be mounted into containers"),
            ("nfs://server/users", "mount it on the machine"),
            ("users", "not an absolute path"),
        ] {
            let error = is_folder_path(&PathBuf::from(bad)).expect_err(bad);
            assert!(error.contains(told), "{error}");
        }
    }
}
