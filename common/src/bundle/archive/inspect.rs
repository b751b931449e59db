//! Validates a whole bundle and reports all its faults.

use std::io::{self, Read, Seek};

use serde_json::Value;

use super::content::{Budget, Content, refused};
use super::directory::{self, Record};
use super::root::{self, CONFIG, DOCKERFILE, IMAGE_TAR, Presence};
use super::{layout, names, unreadable};
use crate::bundle::fault::Faults;
use crate::bundle::{Fault, Limits, config, dockerfile};
use crate::job::{ImageSource, JobSpec};

/// The content of a valid bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The text of its `container_config.json`.
    pub config: String,
    /// The job's specification.
    pub spec: JobSpec,
    /// The folder with the configuration: empty, or ending in `/`.
    pub root: String,
    /// Whether a Dockerfile is beside the configuration.
    pub has_dockerfile: bool,
    /// Whether there is an `image.tar` beside it.
    pub has_image_tar: bool,
    /// Bytes of content.
    pub expanded_bytes: u64,
    /// Number of entries, folders included.
    pub entries: u64,
}

/// Validates a bundle of `size_bytes` bytes. Reads every entry once and applies the limits while reading.
///
/// # Errors
/// All faults. A single fault of the rule [`super::UNREADABLE`] means that reading failed.
pub fn inspect<R: Read + Seek>(
    mut reader: R,
    size_bytes: u64,
    limits: &Limits,
) -> Result<Inspected, Vec<Fault>> {
    let mut faults = Faults::default();
    match judge(&mut reader, size_bytes, limits, &mut faults) {
        Ok(Some(inspected)) if faults.is_empty() => Ok(inspected),
        Ok(_) => Err(faults.into_list()),
        Err(fault) => Err(vec![fault]),
    }
}

/// `None` only with a recorded fault; an error if nothing else can be checked.
fn judge<R: Read + Seek>(
    reader: &mut R,
    size: u64,
    limits: &Limits,
    faults: &mut Faults,
) -> Result<Option<Inspected>, Fault> {
    let layout = layout::read(reader, size, limits)?;
    let records = directory::read(reader, layout, faults)?;
    names::check(&records, limits, faults);
    let root = root::find(&records);
    let wanted = root.as_ref().ok().map(|root| Wanted::new(root, limits));
    let (kept, expanded_bytes) = read_all(reader, &records, size, limits, wanted, faults)?;
    let root = match root {
        Ok(root) => root,
        Err(fault) => {
            faults.push(fault);
            return Ok(None);
        }
    };
    if let Some(text) = kept.dockerfile {
        faults.extend(dockerfile::check(&text, &format!("{root}{DOCKERFILE}")));
    }
    let Some(text) = kept.config else {
        return Ok(None);
    };
    let Some(text) = utf8(text, &format!("{root}{CONFIG}"), faults) else {
        return Ok(None);
    };
    match wanted_image(&text) {
        Some(ImageSource::Build) => faults.extend(root::check_dockerfile(&records, &root)),
        Some(ImageSource::Load) => faults.extend(root::check_image_tar(&records, &root)),
        Some(ImageSource::Named(_)) | None => {}
    }
    let spec = config_text(text, &format!("{root}{CONFIG}"), faults);
    let is_file = |name| root::presence(&records, &format!("{root}{name}")) == Presence::File;
    let (has_dockerfile, has_image_tar) = (is_file(DOCKERFILE), is_file(IMAGE_TAR));
    Ok(spec.map(|(config, spec)| Inspected {
        config,
        spec,
        root,
        has_dockerfile,
        has_image_tar,
        expanded_bytes,
        entries: layout.entries,
    }))
}

/// The entries whose text is checked.
struct Wanted {
    config: (String, u64),
    dockerfile: (String, u64),
}

impl Wanted {
    fn new(root: &str, limits: &Limits) -> Self {
        let config_max = u64::try_from(config::MAX_BYTES).unwrap_or(u64::MAX);
        Self {
            config: (format!("{root}{CONFIG}"), config_max),
            dockerfile: (format!("{root}{DOCKERFILE}"), limits.dockerfile_bytes),
        }
    }
}

/// Their texts.
#[derive(Default)]
struct Kept {
    config: Option<Vec<u8>>,
    dockerfile: Option<String>,
}

/// Reads every readable entry, in the order of their bytes.
fn read_all<R: Read + Seek>(
    reader: &mut R,
    records: &[Record],
    size: u64,
    limits: &Limits,
    wanted: Option<Wanted>,
    faults: &mut Faults,
) -> Result<(Kept, u64), Fault> {
    let mut kept = Kept::default();
    let mut budget = Budget::new(size, limits);
    // Check declared sizes before expanding a byte, and actual sizes while expanding.
    let declared = records
        .iter()
        .fold(0, |sum: u64, r| sum.saturating_add(r.expanded));
    if let Err(refused) = budget.judge(declared) {
        faults.add(refused.rule(), "", refused.to_string());
        return Ok((kept, 0));
    }
    let mut order: Vec<&Record> = records.iter().collect();
    order.sort_by_key(|record| record.offset);
    for record in order {
        let Some(data) = record.data else { continue };
        let limit = |wanted: &(String, u64)| (wanted.0 == record.name).then_some(wanted.1);
        let config = wanted.as_ref().and_then(|w| limit(&w.config));
        let text = config.or_else(|| wanted.as_ref().and_then(|w| limit(&w.dockerfile)));
        let read = Content::open(reader, record, data, &mut budget)
            .and_then(|content| drain(content, text));
        match read {
            Ok(Some(bytes)) if config.is_some() => kept.config = Some(bytes),
            Ok(Some(bytes)) => kept.dockerfile = utf8(bytes, &record.name, faults),
            Ok(None) => {
                if text.is_some() {
                    faults.add("text_too_large", &record.name, "the file is too large");
                }
            }
            Err(error) => match refused(&error) {
                None => return Err(unreadable(error)),
                Some(refused) if refused.is_final() => {
                    faults.add(refused.rule(), "", refused.to_string());
                    break;
                }
                Some(refused) => faults.add(refused.rule(), &record.name, refused.to_string()),
            },
        }
    }
    Ok((kept, budget.expanded))
}

/// Reads to the end. Keeps the bytes if wanted, at most `keep`.
fn drain(mut content: impl Read, keep: Option<u64>) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if let Some(keep) = keep {
        content
            .by_ref()
            .take(keep.saturating_add(1))
            .read_to_end(&mut bytes)?;
    }
    let rest = io::copy(&mut content, &mut io::sink())?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|len| Some(len) <= keep) && rest == 0;
    Ok((keep.is_some() && fits).then_some(bytes))
}

fn utf8(bytes: Vec<u8>, name: &str, faults: &mut Faults) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            faults.add(
                "text_not_utf8",
                name,
                format!("it is not UTF-8, at byte {at}"),
            );
            None
        }
    }
}

/// The image source of a configuration, even of one with other faults, so that faults of the configuration and of
/// the bundle's files are reported together.
fn wanted_image(text: &str) -> Option<ImageSource> {
    let document: Value = serde_json::from_str(text).ok()?;
    let field = |name| document.get(name).filter(|value| !value.is_null());
    Some(match (field("image"), field("build_flag")) {
        (Some(image), _) => ImageSource::Named(image.to_string()),
        (None, Some(Value::Bool(false))) => ImageSource::Load,
        (None, _) => ImageSource::Build,
    })
}

/// Reads the configuration; the places of its faults start with the file's name.
fn config_text(text: String, name: &str, faults: &mut Faults) -> Option<(String, JobSpec)> {
    match config::accept(&text) {
        Ok(spec) => Some((text, spec)),
        Err(list) => {
            // The name is checked and each place is escaped already.
            faults.extend(list.into_iter().map(|mut fault| {
                fault.place = match fault.place.as_str() {
                    "" => crate::bundle::escape(name),
                    place => format!("{}: {place}", crate::bundle::escape(name)),
                };
                fault
            }));
            None
        }
    }
}
