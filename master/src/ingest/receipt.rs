//! The documents written for a taken file: the receipt, or the reasons of the refusal.

use chrono::{DateTime, Utc};
use dopq_common::bundle::Fault;
use serde::{Deserialize, Serialize};

use super::share::split;

/// The version of both formats.
const VERSION: u32 = 1;
/// Longer names are cut, so that a suffix fits.
const STEM_MAX_BYTES: usize = 180;

/// `accepted/NAME.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipt {
    version: u32,
    /// The mark that identifies the file.
    pub(super) mark: String,
    /// The job's id.
    pub(super) job: u64,
    /// Whose it is.
    pub(super) user: String,
    /// The job's name.
    pub(super) name: String,
    /// The file's path below `incoming/`.
    pub(super) file: String,
    /// The zip's size.
    pub(super) size_bytes: u64,
    /// The zip's BLAKE3, its name in the bundle store.
    pub(super) digest: String,
    /// When the receipt was written.
    pub(super) accepted_at: DateTime<Utc>,
}

/// `rejected/NAME.reason.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    version: u32,
    /// The mark that identifies the file.
    pub(super) mark: String,
    /// The user of its folder, if any.
    pub(super) user: Option<String>,
    /// The file's path below `incoming/`.
    pub(super) file: String,
    /// The zip's size.
    pub(super) size_bytes: u64,
    /// When it was refused.
    pub(super) rejected_at: DateTime<Utc>,
    /// Every reason.
    pub(super) faults: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reason {
    /// The rule that was broken.
    pub(super) rule: String,
    /// Where in the bundle.
    pub(super) place: String,
    /// What is wrong.
    pub(super) message: String,
}

/// The part of both documents that identifies the file.
#[derive(Debug, Deserialize)]
pub(super) struct Owner {
    /// The mark of its file.
    pub(super) mark: String,
}

impl Receipt {
    /// A receipt of the current version.
    pub(super) fn new(mark: String, job: u64, user: String, name: String) -> Self {
        Self {
            version: VERSION,
            mark,
            job,
            user,
            name,
            file: String::new(),
            size_bytes: 0,
            digest: String::new(),
            accepted_at: DateTime::UNIX_EPOCH,
        }
    }
}

impl Refusal {
    /// A refusal of the current version.
    pub(super) fn new(mark: String, faults: &[Fault]) -> Self {
        let reason = |fault: &Fault| Reason {
            rule: fault.rule.to_owned(),
            place: fault.place.clone(),
            message: fault.message.clone(),
        };
        Self {
            version: VERSION,
            mark,
            user: None,
            file: String::new(),
            size_bytes: 0,
            rejected_at: DateTime::UNIX_EPOCH,
            faults: faults.iter().map(reason).collect(),
        }
    }
}

/// Names for the kept file, in order of preference. The second contains the mark, so taking the same file
/// again finds the same name.
pub(super) fn stems(path: &str, mark: &str) -> [String; 2] {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (stem, _) = split(file);
    let hash = blake3::hash(mark.as_bytes()).to_hex();
    let hash: String = hash.chars().take(8).collect();
    let mut cut = stem;
    while cut.len() > STEM_MAX_BYTES {
        let mut chars = cut.chars();
        chars.next_back();
        cut = chars.as_str();
    }
    let unique = format!("{cut}-{hash}");
    if cut.len() < stem.len() {
        [unique.clone(), unique]
    } else {
        [stem.to_owned(), unique]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_file_and_clashes_from_the_mark() {
        let [first, second] = stems("anna/run.ZIP", "mark");
        assert_eq!(first, "run");
        assert_eq!(second, stems("bert/run.zip", "mark")[1]);
        assert_ne!(second, stems("anna/run.zip", "other")[1]);
        let [long, same] = stems(&format!("a/{}.zip", "é".repeat(200)), "mark");
        assert_eq!(long, same);
        assert!(long.len() < 200 && long.starts_with("éé"));
    }

    #[test]
    fn the_formats_are_these() {
        let mut receipt = Receipt::new("a/x.zip|3|e".into(), 7, "anna".into(), "train".into());
        receipt.file = "a/x.zip".to_owned();
        receipt.size_bytes = 3;
        receipt.digest = "00".to_owned();
        insta::assert_json_snapshot!("receipt", receipt);
        let faults = [Fault::new(
            "name_parent",
            "../x",
            "its name leads out of the bundle with ..",
        )];
        let mut refusal = Refusal::new("a/x.zip|3|e".into(), &faults);
        refusal.file = "a/x.zip".to_owned();
        refusal.size_bytes = 3;
        insta::assert_json_snapshot!("refusal", refusal);
    }
}
