//! Files of this machine that every job's container and every build step sees, such as `pip.conf` or certificates.
//!
//! Containers get them as mounts. Builds get them as secrets, because BuildKit mounts nothing else of the machine into a
//! step; so no layer contains them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType};
use dopq_common::settings::Scalar;

/// BuildKit takes no larger secrets.
const MAX_BYTES: u64 = 500 * 1024;

/// Folders of a container that are not an image's, where nothing is added.
const RESERVED: [&str; 8] = [
    "/checkpoint/",
    "/dev/",
    "/imgdir/",
    "/outdir/",
    "/proc/",
    "/sys/",
    "/volumes/",
    "/workspace/",
];

/// One such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    source: PathBuf,
    target: String,
}

/// Why a file cannot be shared.
#[derive(Debug, thiserror::Error)]
#[error("read {}, which docker.files names", path.display())]
pub struct SharedFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Scalar for SharedFile {
    fn read(text: &str) -> Result<Self, String> {
        let pair = text.trim().split_once(':');
        let (source, target) = pair.ok_or_else(|| format!("{text:?} is not /here:/inside"))?;
        if !Path::new(source).is_absolute() {
            return Err(format!("{source:?} is not an absolute path"));
        }
        // Written into Dockerfiles as it is.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
        let parts = target.strip_prefix('/').map(|rest| rest.split('/'));
        let is_plain = parts.is_some_and(|mut parts| {
            parts.all(|part| !matches!(part, "" | "." | "..") && part.chars().all(plain))
        });
        if !is_plain {
            return Err(format!(
                "{target:?} is not an absolute path of letters, digits and the characters / . _ - + @"
            ));
        }
        if RESERVED.iter().any(|folder| target.starts_with(folder)) {
            return Err(format!("{target:?} is in a folder that is not the image's"));
        }
        Ok(Self {
            source: PathBuf::from(source),
            target: target.to_owned(),
        })
    }

    fn show(&self) -> String {
        format!("{}:{}", self.source.display(), self.target)
    }
}

impl SharedFile {
    /// Checks that it can be shared.
    ///
    /// # Errors
    /// [`SharedFileError`] if it is missing, no file, or larger than 500 KiB.
    pub fn check(&self) -> Result<(), SharedFileError> {
        let wrong = |source| SharedFileError {
            path: self.source.clone(),
            source,
        };
        let facts = std::fs::metadata(&self.source).map_err(wrong)?;
        if !facts.is_file() || facts.len() > MAX_BYTES {
            let message = format!("it must be a file of {MAX_BYTES} bytes at most");
            return Err(wrong(io::Error::other(message)));
        }
        Ok(())
    }

    /// Where it is seen.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The mount with which a container sees it.
    pub(super) fn mount(&self) -> Mount {
        Mount {
            typ: Some(MountType::BIND),
            source: Some(self.source.display().to_string()),
            target: Some(self.target.clone()),
            read_only: Some(true),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        }
    }
}

/// Reads all files, by where they are seen.
pub(super) async fn contents(
    files: &[SharedFile],
) -> Result<BTreeMap<String, Vec<u8>>, SharedFileError> {
    let mut contents = BTreeMap::new();
    for file in files {
        file.check()?;
        let content = tokio::fs::read(&file.source).await;
        let content = content.map_err(|source| SharedFileError {
            path: file.source.clone(),
            source,
        })?;
        contents.insert(file.target.clone(), content);
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_places_in_the_image_are_taken() {
        let file = SharedFile::read(" /srv/a b/pip.conf:/etc/pip.conf").expect("sound");
        assert_eq!(file.show(), "/srv/a b/pip.conf:/etc/pip.conf");
        assert_eq!(file.target(), "/etc/pip.conf");
        for wrong in [
            "",
            "/etc/pip.conf",
            "pip.conf:/etc/pip.conf",
            "/a:etc/pip.conf",
            "/a:/",
            "/a:/etc//b",
            "/a:/etc/../b",
            "/a:/etc/a b",
            "/a:/etc/a,rw",
            "/a:/proc/self/x",
            "/a:/outdir/x",
            "/a:/volumes/data/x",
        ] {
            assert!(SharedFile::read(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_shared_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| {
            let path = folder.path().join(name);
            SharedFile::read(&format!("{}:/etc/{name}", path.display())).expect("sound")
        };
        std::fs::write(folder.path().join("small"), "text").expect("written");
        let large = vec![0; usize::try_from(MAX_BYTES).expect("small") + 1];
        std::fs::write(folder.path().join("large"), large).expect("written");
        std::fs::create_dir(folder.path().join("folder")).expect("made");
        let read = contents(&[file("small")]).await.expect("read");
        assert_eq!(read["/etc/small"], b"text");
        for name in ["large", "folder", "absent"] {
            let error = file(name).check().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
            assert!(contents(&[file("small"), file(name)]).await.is_err());
        }
    }
}
