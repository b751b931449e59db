//! `dopq check`: validates a bundle locally, by the master's own rules.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use dopq_common::api::Fault;
use dopq_common::bundle::archive::{Inspected, inspect};
use dopq_common::bundle::{self, Limits, config};
use dopq_common::id::VolumeName;
use dopq_common::job::JobSpec;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::context::Context;
use super::overrides::Overrides;
use super::{progress, status};
use crate::bundle::{Packed, pack};
use crate::exit;
use crate::failure::{Failure, fault_table};
use crate::output::text::{bytes, count};
use crate::output::{Cell, Column, Format, Output, Table};

/// Arguments of `dopq check`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder or zip
    #[arg(default_value = ".", value_name = "DIR|ZIP")]
    place: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    name: Option<String>,
    digest: String,
    size_bytes: u64,
    expanded_bytes: Option<u64>,
    entries: Option<u64>,
    left_out: Vec<String>,
    array: Option<Array>,
    faults: Vec<Fault>,
}

/// The tasks of an array.
#[derive(Debug, Serialize)]
struct Array {
    indexes: String,
    tasks: u32,
    max_running: Option<u32>,
    /// The first few.
    first: Vec<Task>,
}

#[derive(Debug, Serialize)]
struct Task {
    index: u32,
    /// What the sweep sets, in its order.
    #[serde(serialize_with = "as_object")]
    env: Vec<(String, String)>,
}

/// How much of a zip is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A larger bundle takes a while to upload, and to build.
const LARGE_BYTES: u64 = 100 << 20;

/// How many tasks are listed.
const TASKS_SHOWN: usize = 5;

impl Array {
    fn of(spec: &JobSpec) -> Option<Self> {
        let array = spec.array.as_ref()?;
        let env = |index| {
            let values = spec.sweep.iter().flat_map(|sweep| sweep.values(index));
            values
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect()
        };
        let first = array.indexes.iter().take(TASKS_SHOWN);
        Some(Self {
            indexes: array.indexes.to_string(),
            tasks: array.indexes.len(),
            max_running: array.max_running,
            first: first
                .map(|index| Task {
                    index,
                    env: env(index),
                })
                .collect(),
        })
    }

    /// Such as `array 0-9%2: 10 tasks, first 5 shown`.
    fn note(&self) -> String {
        let most = self.max_running.map(|most| format!("%{most}"));
        let tasks = count(u64::from(self.tasks), "task", "tasks");
        let shown = self.first.len();
        let rest = usize::try_from(self.tasks).is_ok_and(|tasks| tasks > shown);
        let rest = if rest {
            format!(", first {shown} shown")
        } else {
            String::new()
        };
        format!(
            "array {}{}: {tasks}{rest}",
            self.indexes,
            most.unwrap_or_default()
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[Column::number("TASK"), Column::text("ENVIRONMENT")]);
        for task in &self.first {
            let env = task
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let env: Vec<_> = env.collect();
            table.row([
                Cell::from(task.index.to_string()),
                Cell::from(env.join(" ")),
            ]);
        }
        table
    }
}

/// Checks a folder or zip with the master's default limits.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let packed = pack_folder(&context.output, &arguments.place)?;
    let result = validate(&context.output, &packed, &Limits::default())
        .and_then(|found| Ok((overridden(&found, &arguments.overrides.fields())?, found)));
    let faults = result.as_ref().err().cloned().unwrap_or_default();
    let (spec, inspected) = result.ok().unzip();
    let report = Report {
        ok: inspected.is_some(),
        name: spec.as_ref().map(|spec| spec.name.clone()),
        digest: packed.digest.to_string(),
        size_bytes: packed.size_bytes,
        expanded_bytes: inspected.as_ref().map(|found| found.expanded_bytes),
        entries: inspected.as_ref().map(|found| found.entries),
        left_out: packed.left_out,
        array: spec.as_ref().and_then(Array::of),
        faults,
    };
    match context.output.format {
        Format::Json => context.output.json(&report)?,
        Format::Table if !report.ok => context.output.table(&fault_table(&report.faults))?,
        Format::Table => {
            context.output.line("ok")?;
            if let Some(array) = &report.array {
                context.output.table(&array.table())?;
            }
        }
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
        if let Some(array) = &report.array {
            context.output.note(&array.note());
        }
        if let Some(found) = &inspected {
            note_ignored(&context.output, found);
        }
        if let Some(spec) = spec.filter(|spec| !spec.request.volumes.is_empty()) {
            note_volumes(context, &spec).await;
        }
        return Ok(exit::DONE);
    }
    let number = u64::try_from(report.faults.len()).unwrap_or(u64::MAX);
    context
        .output
        .note(&format!("{place}: {}", count(number, "error", "errors")));
    Ok(exit::FAILED)
}

fn as_object<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// Packs with a progress bar, and lists what is left out.
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
    if packed.unpacked_bytes >= LARGE_BYTES && !packed.largest.is_empty() {
        let largest = packed.largest.iter();
        let largest: Vec<_> = largest
            .map(|(name, size)| format!("{name} {}", bytes(*size)))
            .collect();
        output.note(&format!(
            "{} in {}: {}; name in .dockerignore what the image does not need",
            bytes(packed.unpacked_bytes),
            place.display(),
            largest.join(", ")
        ));
    }
    Ok(packed)
}

/// Validates a zip by the master's rules.
pub(super) fn validate(
    output: &Output,
    packed: &Packed,
    limits: &Limits,
) -> Result<Inspected, Vec<Fault>> {
    let bar = progress::bytes(output, "checking", Some(packed.size_bytes));
    let reader = BufReader::with_capacity(READ_BYTES, packed.content.reader());
    let result = inspect(bar.wrap_read(reader), packed.size_bytes, limits);
    bar.finish_and_clear();
    result.map_err(|faults| faults.into_iter().map(convert).collect())
}

/// Says what the bundle's configuration asks for in vain.
pub(super) fn note_ignored(output: &Output, found: &Inspected) {
    for note in config::notes(&found.config) {
        output.note(&note);
    }
}

/// Says where the cluster offers the volumes that the job asks for. Only the master knows.
async fn note_volumes(context: &Context, spec: &JobSpec) {
    let names: Vec<_> = spec
        .request
        .volumes
        .iter()
        .map(VolumeName::as_str)
        .collect();
    let status = match context.client() {
        Ok(client) => client.status().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let volumes = match status {
        Ok(status) => status.volumes,
        Err(error) => {
            let names = names.join(", ");
            let note =
                format!("volumes {names}: cannot ask the master whether they exist: {error}");
            return context.output.note(&note);
        }
    };
    for name in names {
        let mut offers = volumes
            .iter()
            .filter(|volume| volume.name == name)
            .peekable();
        if offers.peek().is_none() {
            let all: BTreeSet<_> = volumes.iter().map(|volume| &*volume.name).collect();
            let all: Vec<_> = all.into_iter().collect();
            let all = if all.is_empty() {
                "none".to_owned()
            } else {
                all.join(", ")
            };
            context.output.warn(&format!(
                "volume {name}: no node offers it; volumes there are: {all}"
            ));
        }
        for volume in offers {
            context.output.note(&status::offer(volume));
        }
    }
}

/// The bundle's configuration with the flags applied, validated by the master's rules.
pub(super) fn overridden(
    found: &Inspected,
    overrides: &Map<String, Value>,
) -> Result<JobSpec, Vec<Fault>> {
    config::merge(&found.config, overrides)
        .and_then(|text| config::parse(&text))
        .map_err(|faults| faults.into_iter().map(convert).collect())
}

fn convert(fault: bundle::Fault) -> Fault {
    Fault {
        rule: fault.rule.to_owned(),
        place: fault.place,
        message: fault.message,
    }
}
