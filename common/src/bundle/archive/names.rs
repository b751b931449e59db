//! Rules on entries' names, single and together.
//!
//! The names are raw, before any reader sanitised them.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization as _;

use super::directory::Record;
use crate::bundle::Limits;
use crate::bundle::fault::{Faults, is_bidirectional, quote};

/// The longest part of a path, in bytes, that file systems accept.
const PART_MAX_BYTES: usize = 255;

/// Records every name that breaks a rule.
pub(super) fn check(records: &[Record], limits: &Limits, faults: &mut Faults) {
    for record in records {
        if std::str::from_utf8(&record.raw_name).is_err() {
            faults.add("name_not_utf8", &record.name, "its name is not UTF-8");
        }
        let place = quote(&record.name);
        let mut fault = |rule, message: &str| faults.add(rule, &place, message);
        one(&record.name, limits, &mut fault);
    }
    // A name that is too long is refused above; comparing each part of such names takes quadratic time.
    let sane = |record: &&Record| record.name.len() <= limits.name_bytes;
    together(records.iter().filter(sane), faults);
}

/// Rules on one name.
fn one(name: &str, limits: &Limits, fault: &mut impl FnMut(&'static str, &str)) {
    if name.is_empty() {
        fault("name_empty", "its name is empty");
        return;
    }
    if name.len() > limits.name_bytes {
        fault(
            "name_too_long",
            &format!("its name is longer than {} bytes", limits.name_bytes),
        );
    }
    if name.contains('\0') {
        fault("name_nul", "its name contains a NUL character");
    }
    if name.chars().any(|c| c.is_control() && c != '\0') {
        fault("name_control", "its name contains control characters");
    }
    if name
        .chars()
        .any(|c| is_bidirectional(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
    {
        fault(
            "name_bidirectional",
            "its name contains line breaks or text direction marks",
        );
    }
    if name.contains('\\') {
        fault(
            "name_backslash",
            "its name contains a backslash; use / in paths",
        );
    }
    if name.starts_with('/') {
        fault(
            "name_absolute",
            "its name starts with /; use a relative path",
        );
    }
    let drive =
        name.chars().nth(1) == Some(':') && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if drive {
        fault(
            "name_drive",
            "its name starts with a drive letter; use a relative path",
        );
    } else if name.contains(':') {
        fault("name_colon", "its name contains a colon");
    }
    let trimmed = name.strip_suffix('/').unwrap_or(name);
    let parts: Vec<&str> = trimmed.split(['/', '\\']).collect();
    if parts.len() > limits.path_depth {
        fault(
            "path_too_deep",
            &format!("it is more than {} folders deep", limits.path_depth),
        );
    }
    if parts.contains(&"..") {
        fault("name_parent", "its name leads out of the bundle with ..");
    }
    // An empty first part is an absolute name, reported above.
    if parts.iter().skip(1).any(|part| part.is_empty()) || parts.contains(&".") {
        fault(
            "name_not_normal",
            "its name contains an empty part or a . part",
        );
    }
    let named = |part: &&str| !matches!(*part, "" | "." | "..");
    let mut named = parts.into_iter().filter(named);
    if named.clone().any(|part| part.ends_with(['.', ' '])) {
        fault(
            "name_trailing",
            "a part of its name ends with a dot or a space",
        );
    }
    if named.any(|part| part.len() > PART_MAX_BYTES) {
        fault(
            "name_too_long",
            "a part of its name is longer than 255 bytes",
        );
    }
}

/// Rules on all names: each occurs once, even if case and Unicode form are ignored, and no file is also a folder.
fn together<'r>(records: impl Iterator<Item = &'r Record>, faults: &mut Faults) {
    let mut seen: BTreeMap<String, &Record> = BTreeMap::new();
    for record in records {
        let key = fold(record.name.strip_suffix('/').unwrap_or(&record.name));
        if let Some(first) = seen.get(&key) {
            let bare = |record: &Record| record.name.trim_end_matches('/').to_owned();
            if bare(first) == bare(record) {
                faults.add(
                    "name_duplicate",
                    quote(&record.name),
                    "the bundle contains this name twice",
                );
            } else {
                let message = format!(
                    "its name equals `{}` if case or Unicode form is ignored",
                    quote(&first.name)
                );
                faults.add("name_twin", quote(&record.name), message);
            }
        } else {
            seen.insert(key, record);
        }
    }
    for (key, above) in seen.iter().filter(|(_, record)| !record.is_folder()) {
        let folder = format!("{key}/");
        let inside = seen.range(folder.clone()..);
        for (_, record) in inside.take_while(|(key, _)| key.starts_with(&folder)) {
            if faults.is_full() {
                return;
            }
            let message = format!("it is inside `{}`, which is a file", quote(&above.name));
            faults.add("file_and_folder", quote(&record.name), message);
        }
    }
}

/// Equal for all names that some file system treats as equal. Upper-casing first also folds letters without a single
/// lower case, such as the German sharp s.
fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfd()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfc()
        .collect()
}
