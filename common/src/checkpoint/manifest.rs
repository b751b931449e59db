//! The manifest of a checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    CHUNK_MAX_BYTES, DEPTH_MAX, ENTRIES_MAX, FORMAT, MANIFEST_MAX_BYTES, NAME_MAX_BYTES,
    PATH_MAX_BYTES,
};
use crate::id::Digest;
use crate::time::Timestamp;

/// The bits of a mode that are kept: no setuid, no setgid, no sticky bit.
const MODE_MAX: u32 = 0o777;

/// What a `/checkpoint` folder contained at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// The number of the attempt that wrote the files.
    pub attempt: u32,
    /// When it was taken, by the worker's clock; for display only.
    #[serde(rename = "taken_at_ms")]
    pub taken_at: Timestamp,
    /// Everything below the folder, by path; a folder stands before what is in it.
    pub entries: Vec<Entry>,
}

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path below the folder.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content was changed, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file; its chunks in order.
    File(Vec<Chunk>),
    /// A symbolic link. Only the container follows it.
    Link(String),
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chunk {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub len: u32,
}

/// A manifest that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is no manifest, or too long.
    #[error("the manifest is invalid: {0}")]
    Shape(String),
    /// A later version wrote it.
    #[error("the manifest has format {0}, and {FORMAT} is known")]
    Format(u32),
    /// It has too many entries.
    #[error("it has {0} files, folders and links, and {ENTRIES_MAX} are allowed")]
    Entries(usize),
    /// A path that nobody may make, or that is out of order.
    #[error("the path {0:?} is not allowed")]
    Path(String),
    /// An entry whose other parts do not hold.
    #[error("the entry {0:?} is not sound")]
    Entry(String),
}

impl Manifest {
    /// Reads and checks a manifest that anybody may have written.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn read(bytes: &[u8]) -> Result<Self, Invalid> {
        if bytes.len() > MANIFEST_MAX_BYTES {
            return Err(Invalid::Shape(format!("it has {} bytes", bytes.len())));
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| Invalid::Shape(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks what a reader relies on.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(&self) -> Result<(), Invalid> {
        if self.format != FORMAT {
            return Err(Invalid::Format(self.format));
        }
        if self.entries.len() > ENTRIES_MAX {
            return Err(Invalid::Entries(self.entries.len()));
        }
        let mut folders = BTreeSet::new();
        let mut lengths = BTreeMap::new();
        let mut last = None;
        for entry in &self.entries {
            let path = entry.path.as_str();
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            let is_placed = parent.is_none_or(|parent| folders.contains(parent));
            if !is_path(path) || !is_placed || last.is_some_and(|last| last >= path) {
                return Err(Invalid::Path(path.to_owned()));
            }
            last = Some(path);
            let is_sound = match &entry.kind {
                Kind::Folder => folders.insert(path),
                Kind::Link(target) => {
                    !target.is_empty() && target.len() <= PATH_MAX_BYTES && !target.contains('\0')
                }
                Kind::File(chunks) => chunks.iter().all(|chunk| {
                    let known = *lengths.entry(chunk.digest).or_insert(chunk.len);
                    known == chunk.len && (1..=CHUNK_MAX_BYTES).contains(&chunk.len)
                }),
            };
            if !is_sound || entry.mode > MODE_MAX {
                return Err(Invalid::Entry(path.to_owned()));
            }
        }
        Ok(())
    }

    /// How many files it has.
    #[must_use]
    pub fn files(&self) -> u64 {
        let is_file = |entry: &&Entry| matches!(entry.kind, Kind::File(_));
        let files = self.entries.iter().filter(is_file).count();
        u64::try_from(files).unwrap_or(u64::MAX)
    }

    /// The size of its files in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.entries.iter().map(Entry::bytes);
        sizes.fold(0, u64::saturating_add)
    }

    /// Its distinct chunks.
    #[must_use]
    pub fn chunks(&self) -> BTreeMap<Digest, u32> {
        let chunks = self.entries.iter().flat_map(Entry::chunks);
        chunks.map(|chunk| (chunk.digest, chunk.len)).collect()
    }
}

impl Entry {
    /// The chunks of a file; none of what is no file.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        match &self.kind {
            Kind::File(chunks) => chunks,
            Kind::Folder | Kind::Link(_) => &[],
        }
    }

    /// The size of a file in bytes; 0 of what is no file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let lengths = self.chunks().iter().map(|chunk| u64::from(chunk.len));
        lengths.fold(0, u64::saturating_add)
    }
}

/// Whether a file of this path can be made below a folder, and nowhere else.
fn is_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX_BYTES && !name.contains('\0')
    };
    path.len() <= PATH_MAX_BYTES
        && path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.to_owned(),
            mode: 0o644,
            uid: 1000,
            gid: 1000,
            mtime_ns: 1,
            kind,
        }
    }

    fn chunk(byte: u8, len: u32) -> Chunk {
        Chunk {
            digest: Digest([byte; 32]),
            len,
        }
    }

    fn manifest(entries: Vec<Entry>) -> Manifest {
        Manifest {
            format: FORMAT,
            attempt: 3,
            taken_at: Timestamp::from_millis(7),
            entries,
        }
    }

    fn sound() -> Manifest {
        manifest(vec![
            entry("a", Kind::Folder),
            entry("a-b", Kind::File(Vec::new())),
            entry("a/model", Kind::File(vec![chunk(1, 10), chunk(2, 5)])),
            entry("a/old", Kind::File(vec![chunk(1, 10)])),
            entry("latest", Kind::Link("a/model".to_owned())),
        ])
    }

    #[test]
    fn a_manifest_keeps_its_form() {
        let json = serde_json::to_string(&manifest(vec![
            entry("latest", Kind::Link("model".to_owned())),
            entry("model", Kind::File(vec![chunk(0xab, 9)])),
            entry("runs", Kind::Folder),
        ]));
        let digest = "ab".repeat(32);
        let rest = r#""mode":420,"uid":1000,"gid":1000,"mtime_ns":1"#;
        let expected = format!(
            r#"{{"format":1,"attempt":3,"taken_at_ms":7,"entries":[{{"path":"latest",{rest},"kind":{{"link":"model"}}}},{{"path":"model",{rest},"kind":{{"file":[{{"digest":"{digest}","len":9}}]}}}},{{"path":"runs",{rest},"kind":"folder"}}]}}"#
        );
        assert_eq!(json.expect("JSON"), expected);
        assert_eq!(
            Manifest::read(expected.as_bytes()).expect("sound").files(),
            1
        );
    }

    #[test]
    fn sizes_and_chunks_are_counted() {
        let manifest = sound();
        manifest.check().expect("sound");
        assert_eq!((manifest.files(), manifest.bytes()), (3, 25));
        assert_eq!(manifest.chunks().len(), 2);
    }

    #[test]
    fn what_a_hostile_writer_may_try_is_refused() {
        let file = |path: &str| entry(path, Kind::File(Vec::new()));
        let long = "x".repeat(256);
        let deep = vec!["d"; DEPTH_MAX + 1].join("/");
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            ".",
            "./x",
            "a//b",
            "a/",
            "a\0b",
            &long,
            &deep,
            "missing/x",
        ] {
            let refused = manifest(vec![file(path)]).check();
            assert_eq!(refused, Err(Invalid::Path(path.to_owned())));
        }
        for paths in [["b", "a"], ["a", "a"], ["a", "a/b"]] {
            let refused = manifest(paths.map(file).to_vec()).check();
            assert_eq!(
                refused,
                Err(Invalid::Path(paths[1].to_owned())),
                "{paths:?}"
            );
        }
        let through_link = manifest(vec![
            entry("a", Kind::Link("/etc".to_owned())),
            file("a/passwd"),
        ]);
        assert!(matches!(through_link.check(), Err(Invalid::Path(_))));
        let setuid = Entry {
            mode: 0o4755,
            ..file("a")
        };
        let unsound = [
            setuid,
            entry("a", Kind::Link(String::new())),
            entry("a", Kind::Link("x\0".to_owned())),
            entry("a", Kind::File(vec![chunk(1, 0)])),
            entry("a", Kind::File(vec![chunk(1, CHUNK_MAX_BYTES + 1)])),
            entry("a", Kind::File(vec![chunk(1, 5), chunk(1, 6)])),
        ];
        for entry in unsound {
            let refused = manifest(vec![entry]).check();
            assert_eq!(refused, Err(Invalid::Entry("a".to_owned())));
        }
        let many = (0..=ENTRIES_MAX)
            .map(|n| file(&format!("{n:09}")))
            .collect();
        assert!(matches!(manifest(many).check(), Err(Invalid::Entries(_))));
        let later = Manifest {
            format: 2,
            ..sound()
        };
        assert_eq!(later.check(), Err(Invalid::Format(2)));
        assert!(Manifest::read(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn a_sound_path_stays_below_its_folder(path in "[a./\\x00-]{0,12}") {
            let is_sound = manifest(vec![entry(&path, Kind::File(Vec::new()))]).check().is_ok();
            // Without folders in the manifest a path has one name.
            let expected = !path.is_empty() && !path.contains(['/', '\0']) && path != "." && path != "..";
            prop_assert_eq!(is_sound, expected);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in r#"[\[\]{}":,a-z0-9]{0,80}"#) {
            prop_assert!(Manifest::read(text.as_bytes()).is_err());
        }
    }
}
