//! The manifest: the last file of the archive, which tells what is in it and what was left out and why.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use dopq_common::id::AttemptId;
use dopq_common::job::{LeftOut, NAMED_MAX, Results};
use serde::Serialize;

/// The manifest's name in the archive.
pub(super) const NAME: &str = "dopq-manifest.json";

/// The longest path in what is told with the job.
const SHOWN_MAX: usize = 200;

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// There is no room for it.
    TooLarge,
    /// It cannot be opened or read.
    Unreadable(String),
    /// A link that leads out, or may.
    LinkLeaves,
    /// Neither file, folder nor link.
    Special,
    /// Its path is too long, or the name is the manifest's.
    Name,
    /// The folder is nested too deep for what is in it.
    Depth,
    /// There are too many entries for what is in it, or for the link.
    Count,
}

impl Reason {
    pub(super) fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable(error.to_string())
    }

    /// As it is told.
    fn text(&self) -> String {
        match self {
            Self::TooLarge => "too large: the results would exceed limits.results_size".to_owned(),
            Self::Unreadable(why) => format!("cannot be read: {why}"),
            Self::LinkLeaves => "a link that may lead out of /outdir".to_owned(),
            Self::Special => "a pipe, socket or device".to_owned(),
            Self::Name => "its path is too long, or its name is the manifest's".to_owned(),
            Self::Depth => "its content: folders are nested too deep".to_owned(),
            Self::Count => "it, or some of its content: there are too many files".to_owned(),
        }
    }
}

/// Whether the name may be used where it is.
pub(super) fn can_be_named(parent: Option<usize>, name: &OsStr) -> bool {
    parent.is_some() || name != NAME
}

/// What the lines of each of the two lists take at the most; further ones are counted. They are in memory until the end
/// of the archive.
const LIST_MAX_BYTES: u64 = 32 << 20;

/// What both lists take at the most.
pub(super) const LISTS_MAX_BYTES: u64 = 2 * LIST_MAX_BYTES;

/// What the rest of the manifest and the archive's end take at the most.
pub(super) const HEAD_BYTES: u64 = 8192;

/// What the line of an entry takes at the most.
pub(super) const fn line_bytes(path: u64) -> u64 {
    // A byte that is no text becomes six.
    6 * path + 200
}

/// The manifest while it is written.
#[derive(Debug)]
pub(super) struct Manifest {
    files: List,
    left_out: List,
    results: Results,
}

/// Lines of JSON.
#[derive(Debug, Default)]
struct List {
    lines: Vec<u8>,
    /// Number of those that have no room.
    more: u64,
}

#[derive(Serialize)]
struct FileLine<'a> {
    path: &'a str,
    bytes: u64,
    /// Missing for a file with holes.
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
}

#[derive(Serialize)]
struct LinkLine<'a> {
    path: &'a str,
    link: &'a str,
}

#[derive(Serialize)]
struct LeftOutLine<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    reason: &'a str,
}

impl Manifest {
    pub(super) fn new() -> Self {
        Self {
            files: List::default(),
            left_out: List::default(),
            results: Results::default(),
        }
    }

    pub(super) fn file(
        &mut self,
        path: &Path,
        bytes: u64,
        digest: Option<blake3::Hash>,
    ) -> io::Result<()> {
        self.results.files += 1;
        // Files with holes may be longer than all disks.
        self.results.bytes = self.results.bytes.saturating_add(bytes);
        let path = path.to_string_lossy();
        let line = FileLine {
            path: &path,
            bytes,
            blake3: digest.map(|digest| digest.to_hex().to_string()),
        };
        self.files.push(&line)
    }

    pub(super) fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        self.results.files += 1;
        let (path, target) = (path.to_string_lossy(), target.to_string_lossy());
        let line = LinkLine {
            path: &path,
            link: &target,
        };
        self.files.push(&line)
    }

    pub(super) fn left_out(
        &mut self,
        path: &Path,
        bytes: Option<u64>,
        reason: &Reason,
    ) -> io::Result<()> {
        let path = path.to_string_lossy();
        let reason = reason.text();
        self.results.left_out += 1;
        if self.results.named.len() < NAMED_MAX {
            self.results.named.push(LeftOut {
                path: path.chars().take(SHOWN_MAX).collect(),
                reason: reason.clone(),
            });
        }
        let line = LeftOutLine {
            path: &path,
            bytes,
            reason: &reason,
        };
        self.left_out.push(&line)
    }

    /// The document's parts, and the summary that is told with the job.
    pub(super) fn finish(self, attempt: AttemptId) -> ([Vec<u8>; 5], Results) {
        let AttemptId { job, number, .. } = attempt;
        let head = format!(
            "{{\"job\":{job},\"attempt\":{number},\"complete\":{},\"more_files\":{},\"more_left_out\":{},\"files\":[",
            self.results.is_complete(),
            self.files.more,
            self.left_out.more,
        );
        let parts = [
            head.into_bytes(),
            self.files.lines,
            b"\n],\"left_out\":[".to_vec(),
            self.left_out.lines,
            b"\n]}\n".to_vec(),
        ];
        (parts, self.results)
    }
}

impl List {
    fn push(&mut self, line: &impl Serialize) -> io::Result<()> {
        let separator = if self.lines.is_empty() { "\n" } else { ",\n" };
        let line = serde_json::to_vec(line)?;
        let length = self.lines.len() + separator.len() + line.len();
        if u64::try_from(length).is_ok_and(|length| length <= LIST_MAX_BYTES) {
            self.lines.extend_from_slice(separator.as_bytes());
            self.lines.extend_from_slice(&line);
        } else {
            self.more += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn files_with_holes_may_have_any_length() {
        let mut manifest = Manifest::new();
        for _ in 0..3 {
            let told = manifest.file(Path::new("holes"), u64::MAX / 2, None);
            told.expect("told");
        }
        let attempt = "7.2-07070707070707070707070707070707".parse().expect("id");
        let (_, results) = manifest.finish(attempt);
        assert_eq!((results.files, results.bytes), (3, u64::MAX));
    }

    #[test]
    fn lines_without_room_are_counted() {
        let mut manifest = Manifest::new();
        // Each character becomes six.
        let path = PathBuf::from("\u{1}".repeat(4000));
        for _ in 0..3000 {
            manifest.file(&path, 1, None).expect("told");
            let told = manifest.left_out(&path, None, &Reason::Special);
            told.expect("told");
        }
        let attempt = "7.2-07070707070707070707070707070707".parse().expect("id");
        let (parts, results) = manifest.finish(attempt);
        assert_eq!((results.files, results.left_out), (3000, 3000));
        let document = parts.concat();
        let most = LISTS_MAX_BYTES + HEAD_BYTES;
        assert!(u64::try_from(document.len()).is_ok_and(|length| length <= most));
        let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
        for (list, more) in [("files", "more_files"), ("left_out", "more_left_out")] {
            let listed = document[list].as_array().map_or(0, Vec::len);
            let more = document[more].as_u64().expect("a number");
            assert!(more > 0);
            assert_eq!(listed as u64 + more, 3000, "{list}");
        }
    }
}
