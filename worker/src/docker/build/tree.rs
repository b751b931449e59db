//! The files that a build may ask for, in the order and form of BuildKit's file transfer (fsutil).
//!
//! The engine keeps a copy of what it got for the user's previous build, and asks only for files whose description
//! differs. So the description has to change whenever the content does.

use std::collections::{BTreeMap, BTreeSet};

use bollard_buildkit_proto::fsutil::types::Stat;
use bytes::Bytes;

/// The time of every file, 2000-01-01, in nanoseconds. The same bundle gives the same context. A file's CRC-32 is added
/// in nanoseconds, which is 4.3 s at most, so that changed content of equal size is noticed.
const FILE_TIME_NANOS: i64 = 946_684_800 * 1_000_000_000;

/// Go's mode bit of a folder.
const GO_FOLDER: u32 = 1 << 31;

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// An entry of the bundle.
    Entry {
        /// Its index.
        index: usize,
        /// Bytes of content.
        size_bytes: u64,
        /// Its checksum.
        crc32: u32,
    },
    /// Text of DoPQ's own making. It is sent each time.
    Text(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    File { mode: u32, content: Content },
}

/// Files and folders; every folder above a file is there. Sorted as fsutil wants: a folder comes before what is in it,
/// and siblings follow each other by their bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree(BTreeMap<Vec<u8>, Node>);

/// A slash sorts before any other byte, so that a folder's content comes right after it.
fn key(path: &str) -> Vec<u8> {
    path.bytes()
        .map(|b| if b == b'/' { 0 } else { b })
        .collect()
}

fn path(key: &[u8]) -> String {
    let bytes = key.iter().map(|b| if *b == 0 { b'/' } else { *b });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

impl Tree {
    /// Adds a folder and those above it.
    pub(super) fn add_folder(&mut self, path: &str) {
        let above = path.match_indices('/').map(|(at, _)| path.split_at(at).0);
        for folder in above.chain([path]) {
            self.0.entry(key(folder)).or_insert(Node::Folder);
        }
    }

    /// Adds a file and the folders above it.
    pub(super) fn add_file(&mut self, path: &str, mode: u32, content: Content) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.add_folder(folder);
        }
        self.0.insert(key(path), Node::File { mode, content });
    }

    /// Number of files and folders.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What `wanted` selects, and the folders above it; `None` once `wanted` answers nothing.
    pub(super) fn select(
        &self,
        wanted: impl Fn(&str) -> Option<bool>,
    ) -> Option<Vec<(Stat, Option<&Content>)>> {
        let mut selected = Vec::new();
        let mut needed: BTreeSet<Vec<u8>> = BTreeSet::new();
        // A folder comes after everything in it.
        for (key, node) in self.0.iter().rev() {
            let path = path(key);
            if !wanted(&path)? && !needed.remove(key) {
                continue;
            }
            if let Some((folder, _)) = path.rsplit_once('/') {
                needed.insert(self::key(folder));
            }
            selected.push(described(path, node));
        }
        selected.reverse();
        Some(selected)
    }
}

fn described(path: String, node: &Node) -> (Stat, Option<&Content>) {
    let mut stat = Stat {
        path,
        mode: GO_FOLDER | 0o755,
        mod_time: FILE_TIME_NANOS,
        ..Stat::default()
    };
    let Node::File { mode, content } = node else {
        return (stat, None);
    };
    stat.mode = *mode;
    let (size, crc32) = match content {
        Content::Entry {
            size_bytes, crc32, ..
        } => (*size_bytes, *crc32),
        Content::Text(text) => (text.len() as u64, crc(text)),
    };
    stat.size = i64::try_from(size).unwrap_or(i64::MAX);
    stat.mod_time += i64::from(crc32);
    (stat, Some(content))
}

/// Four bytes that depend on the text.
fn crc(text: &[u8]) -> u32 {
    let digest = blake3::hash(text);
    digest
        .as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(crc32: u32) -> Content {
        Content::Entry {
            index: 0,
            size_bytes: 3,
            crc32,
        }
    }

    fn paths(tree: &Tree, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let selected = tree
            .select(|path| Some(wanted(path)))
            .expect("not cancelled");
        selected.into_iter().map(|(stat, _)| stat.path).collect()
    }

    #[test]
    fn a_folder_comes_before_its_content_and_both_before_longer_names() {
        let mut tree = Tree::default();
        for path in ["a-b", "a/z", "a.txt", "a/b/c", "\u{e4} x", "B"] {
            tree.add_file(path, 0o644, entry(0));
        }
        tree.add_folder("empty/er");
        let all = [
            "B", "a", "a/b", "a/b/c", "a/z", "a-b", "a.txt", "empty", "empty/er", "\u{e4} x",
        ];
        assert_eq!(paths(&tree, |_| true), all);
        assert_eq!(paths(&tree, |path| path == "a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(paths(&tree, |path| path == "empty"), ["empty"]);
        assert!(tree.select(|_| None).is_none());
    }

    #[test]
    fn a_description_changes_with_the_content() {
        let mut tree = Tree::default();
        tree.add_file("x", 0o755, entry(u32::MAX));
        tree.add_file("y", 0o644, entry(7));
        tree.add_file("z", 0o644, Content::Text(Bytes::from_static(b"text")));
        tree.add_folder("d");
        let stats = tree.select(|_| Some(true)).expect("not cancelled");
        let seen: Vec<_> = stats
            .iter()
            .map(|(stat, _)| (stat.mode, stat.size, stat.mod_time - FILE_TIME_NANOS))
            .collect();
        assert_eq!(
            seen,
            [
                (GO_FOLDER | 0o755, 0, 0),
                (0o755, 3, i64::from(u32::MAX)),
                (0o644, 3, 7),
                (0o644, 4, i64::from(crc(b"text"))),
            ]
        );
    }
}
