//! Finds the root folder of a bundle, by DoPQ 1.0's rule.
//!
//! A configuration at the top wins. Otherwise the only folder that has one is the root, at any depth.

use super::directory::Record;
use crate::bundle::Fault;

/// The configuration's name.
pub(super) const CONFIG: &str = "container_config.json";
/// The Dockerfile's name.
pub(super) const DOCKERFILE: &str = "Dockerfile";
/// The name of an image to load.
pub(super) const IMAGE_TAR: &str = "image.tar";

/// The root folder: empty, or ending in `/`.
pub(super) fn find(records: &[Record]) -> Result<String, Fault> {
    let places: Vec<&str> = records
        .iter()
        .filter(|record| !record.is_folder())
        .filter_map(|record| record.name.strip_suffix(CONFIG))
        .filter(|above| above.is_empty() || above.ends_with('/'))
        .collect();
    match places.as_slice() {
        places if places.contains(&"") => Ok(String::new()),
        [place] => Ok((*place).to_owned()),
        [] => Err(missing(records)),
        [first, second, ..] => {
            let message = format!(
                "several folders contain it, such as `{first}` and `{second}`, but not the root"
            );
            Err(Fault::new("config_ambiguous", CONFIG, message))
        }
    }
}

fn missing(records: &[Record]) -> Fault {
    let base = |record: &&Record| {
        let name = record.name.trim_end_matches('/');
        name.rsplit('/')
            .next()
            .is_some_and(|base| base.eq_ignore_ascii_case(CONFIG))
    };
    match records.iter().find(base) {
        Some(record) if record.is_folder() => Fault::new(
            "config_is_folder",
            &record.name,
            "it must be a file, not a folder",
        ),
        Some(record) => Fault::new(
            "config_missing",
            &record.name,
            format!("it must be named {CONFIG}, in lower case"),
        ),
        None => Fault::new("config_missing", CONFIG, "the bundle has no configuration"),
    }
}

/// Whether `name` is a file, a folder or missing. A folder may exist only through its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    File,
    Folder,
    Absent,
}

pub(super) fn presence(records: &[Record], name: &str) -> Presence {
    let folder = format!("{name}/");
    if records.iter().any(|record| record.name == name) {
        Presence::File
    } else if records
        .iter()
        .any(|record| record.name.starts_with(&folder))
    {
        Presence::Folder
    } else {
        Presence::Absent
    }
}

/// Checks for the Dockerfile of a bundle that is built.
pub(super) fn check_dockerfile(records: &[Record], root: &str) -> Option<Fault> {
    let place = format!("{root}{DOCKERFILE}");
    match presence(records, &place) {
        Presence::File => None,
        Presence::Folder => {
            let message = "it must be a file, not a folder";
            Some(Fault::new("dockerfile_is_folder", place, message))
        }
        Presence::Absent => {
            let base = |record: &&Record| {
                record
                    .name
                    .rsplit('/')
                    .next()
                    .is_some_and(|b| b.eq_ignore_ascii_case(DOCKERFILE))
            };
            Some(match records.iter().find(base) {
                Some(other) => Fault::new(
                    "dockerfile_elsewhere",
                    &other.name,
                    format!("the Dockerfile must be `{place}`, beside the configuration"),
                ),
                None => Fault::new(
                    "dockerfile_missing",
                    place,
                    "the bundle has no Dockerfile; add one, or set `build_flag` to false",
                ),
            })
        }
    }
}

/// Checks for the image of a bundle that contains one.
pub(super) fn check_image_tar(records: &[Record], root: &str) -> Option<Fault> {
    let place = format!("{root}{IMAGE_TAR}");
    match presence(records, &place) {
        Presence::File => None,
        Presence::Folder => {
            let message = "it must be a file, not a folder";
            Some(Fault::new("image_is_folder", place, message))
        }
        Presence::Absent => Some(Fault::new(
            "image_missing",
            place,
            "with `build_flag` false the bundle needs image.tar or the configuration an `image`",
        )),
    }
}
