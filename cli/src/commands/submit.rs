//! `dopq submit`: packs, validates, uploads the bundle unless the master has it, and submits.

use std::path::PathBuf;

use clap::Args;
use dopq_common::api::{Job, Role, SubmitRequest};
use dopq_common::bundle::Limits;
use dopq_common::bundle::archive::Inspected;
use serde_json::{Map, Value};

use super::check::{note_ignored, overridden, pack_folder, validate};
use super::context::Context;
use super::follow::follow_to_end;
use super::jobs;
use super::overrides::Overrides;
use super::progress;
use crate::bundle::Packed;
use crate::client::{Client, Error};
use crate::exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::output::text::{bytes, clean, count};

/// Arguments of `dopq submit`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder or zip
    #[arg(default_value = ".", value_name = "DIR|ZIP")]
    place: PathBuf,
    /// Follow the job's log until it finishes, and exit with its exit code
    #[arg(long, short)]
    follow: bool,
    /// Submit as yourself, whatever executor_name says
    #[arg(long)]
    mine: bool,
    /// Do not validate before uploading
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    overrides: Overrides,
}

/// Submits. A request is repeated with the same key, so that a lost answer cannot submit twice.
pub(crate) async fn run(context: &Context, mut arguments: Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    arguments.overrides.resolve_after(&client).await?;
    let mut overrides = arguments.overrides.fields();
    let key = random_key()?;
    let packed = pack_folder(&context.output, &arguments.place)?;
    let inspected = if arguments.no_check {
        None
    } else {
        Some(check(context, &packed, &arguments, &overrides)?)
    };
    let me = client
        .whoami()
        .await
        .map_err(Failure::call("read your user name"))?;
    if arguments.mine {
        overrides.insert("executor_name".to_owned(), Value::String(me.name.clone()));
    } else if let Some(inspected) = &inspected
        && me.role != Role::Admin
        && !overrides.contains_key("executor_name")
    {
        check_executor(inspected, &me.name)?;
    }
    upload(context, &client, &packed, &arguments).await?;
    let request = SubmitRequest {
        bundle: packed.digest.to_string(),
        overrides,
    };
    let job = client
        .submit(&request, &key)
        .await
        .map_err(Failure::call(format!(
            "submit {}",
            arguments.place.display()
        )))?;
    // The zip is no longer needed, and following may take days.
    drop(packed);
    report(context, &job, arguments.follow)?;
    if !arguments.follow {
        return Ok(exit::DONE);
    }
    follow_to_end(context, &client, &job).await
}

/// Validates before anything is sent. Size limits are left to the master, whose admin may have raised them.
fn check(
    context: &Context,
    packed: &Packed,
    arguments: &Arguments,
    overrides: &Map<String, Value>,
) -> Result<Inspected, Failure> {
    let limits = Limits {
        compressed_bytes: u64::MAX,
        expanded_bytes: u64::MAX,
        entries: u64::MAX,
        ratio: u64::MAX,
        ..Limits::default()
    };
    let found = validate(&context.output, packed, &limits)
        .and_then(|found| overridden(&found, overrides).map(|_| found))
        .map_err(|faults| Failure::Bundle {
            place: arguments.place.clone(),
            faults,
        })?;
    note_ignored(&context.output, &found);
    Ok(found)
}

/// Refuses before the upload what the master would refuse after it.
fn check_executor(inspected: &Inspected, me: &str) -> Result<(), Failure> {
    let named = inspected.spec.executor.as_str();
    if named == me {
        return Ok(());
    }
    Err(Failure::NotYours {
        named: named.to_owned(),
        me: me.to_owned(),
    })
}

async fn upload(
    context: &Context,
    client: &Client,
    packed: &Packed,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let there = client
        .has_bundle(&packed.digest)
        .await
        .map_err(Failure::call("look up the bundle"))?;
    if there {
        context.output.note(&format!(
            "bundle {} was uploaded before",
            packed.digest.short()
        ));
        return Ok(());
    }
    let bar = progress::bytes(&context.output, "uploading", Some(packed.size_bytes));
    let sent = client
        .put_bundle(
            &packed.digest,
            &packed.content,
            packed.size_bytes,
            bar.clone(),
        )
        .await;
    bar.finish_and_clear();
    match sent {
        Ok(_) => {
            context.output.note(&format!(
                "uploaded bundle {}, {}",
                packed.digest.short(),
                bytes(packed.size_bytes)
            ));
            Ok(())
        }
        Err(Error::Refused(body)) if !body.faults.is_empty() => Err(Failure::Bundle {
            place: arguments.place.clone(),
            faults: body.faults,
        }),
        Err(source) => Err(Failure::Call {
            doing: format!("upload {}", arguments.place.display()),
            source,
        }),
    }
}

/// Prints the id to stdout, unless the log follows there.
pub(super) fn report(context: &Context, job: &Job, follow: bool) -> Result<(), Failure> {
    let tasks = job.array.as_ref().map_or_else(String::new, |array| {
        let tasks = count(u64::from(array.total), "task", "tasks");
        format!(" with {tasks} ({})", jobs::array(array))
    });
    let place = match (job.position, &job.reason) {
        (Some(position), Some(reason)) => {
            format!(", position {position} in the queue: {}", clean(reason))
        }
        (Some(position), None) => format!(", position {position} in the queue"),
        (None, _) => String::new(),
    };
    context.output.note(&format!(
        "job {} ({}){tasks} is {}{place}",
        job.id,
        clean(&job.name),
        clean(&job.state)
    ));
    match (context.output.format, follow) {
        (Format::Json, false) => context.output.json(job)?,
        (Format::Json, true) => context.output.json_line(job)?,
        (Format::Quiet, _) | (Format::Table, false) => context.output.line(&job.id.to_string())?,
        (Format::Table, true) => {}
    }
    Ok(())
}

/// The idempotency key of one request.
pub(super) fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Start(std::io::Error::other(error)))?;
    Ok(hex::encode(bytes))
}
