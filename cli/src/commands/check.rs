//! `dopq check`: the master's own validator, at home and without a master.

use std::path::{Path, PathBuf};

use clap::Args;
use dopq_common::api::Fault;
use dopq_common::bundle::archive::{Inspected, inspect};
use dopq_common::bundle::{self, Limits};
use serde::Serialize;

use super::context::Context;
use super::progress;
use crate::bundle::{Packed, pack};
use crate::exit;
use crate::failure::{Failure, fault_table};
use crate::output::text::{bytes, count};
use crate::output::{Format, Output};

/// Arguments of `dopq check`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder or zip
    #[arg(default_value = ".", value_name = "DIR|ZIP")]
    place: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    name: Option<String>,
    digest: String,
    size_bytes: u64,
    expanded_bytes: Option<u64>,
    entries: Option<u64>,
    left_out: Vec<String>,
    faults: Vec<Fault>,
}

/// Checks a folder or zip with the master's default limits.
pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let packed = pack_folder(&context.output, &arguments.place)?;
    let judged = judge(&packed, &Limits::default());
    let faults = judged.as_ref().err().cloned().unwrap_or_default();
    let inspected = judged.ok();
    let report = Report {
        ok: inspected.is_some(),
        name: inspected.as_ref().map(|found| found.spec.name.clone()),
        digest: packed.digest.to_string(),
        size_bytes: packed.size_bytes,
        expanded_bytes: inspected.as_ref().map(|found| found.expanded_bytes),
        entries: inspected.as_ref().map(|found| found.entries),
        left_out: packed.left_out,
        faults,
    };
    match context.output.format {
        Format::Json => context.output.json(&report)?,
        Format::Table if !report.ok => context.output.table(&fault_table(&report.faults))?,
        Format::Table => context.output.line("ok")?,
        Format::Quiet => {
            for fault in &report.faults {
                context.output.line(&fault.rule)?;
            }
        }
    }
    let place = arguments.place.display();
    if report.ok {
        context.output.note(&format!(
            "{place}: {}, {} packed, {} unpacked",
            count(report.entries.unwrap_or(0), "file", "files"),
            bytes(report.size_bytes),
            bytes(report.expanded_bytes.unwrap_or(0))
        ));
        return Ok(exit::DONE);
    }
    let number = u64::try_from(report.faults.len()).unwrap_or(u64::MAX);
    context
        .output
        .note(&format!("{place}: {}", count(number, "fault", "faults")));
    Ok(exit::FAILED)
}

/// Packs with a bar, and tells what was left out.
pub(super) fn pack_folder(output: &Output, place: &Path) -> Result<Packed, Failure> {
    let bar = progress::bytes(output, "packing", Some(0));
    let packed = pack(place, &bar);
    bar.finish_and_clear();
    let packed = packed.map_err(|source| Failure::Pack {
        place: place.to_owned(),
        source,
    })?;
    if !packed.left_out.is_empty() {
        output.note(&format!("left out: {}", packed.left_out.join(", ")));
    }
    Ok(packed)
}

/// Judges a zip by the master's rules.
pub(super) fn judge(packed: &Packed, limits: &Limits) -> Result<Inspected, Vec<Fault>> {
    let reader = std::io::BufReader::new(packed.content.reader());
    inspect(reader, packed.size_bytes, limits)
        .map_err(|faults| faults.into_iter().map(convert).collect())
}

fn convert(fault: bundle::Fault) -> Fault {
    Fault {
        rule: fault.rule.to_owned(),
        place: fault.place,
        message: fault.message,
    }
}
