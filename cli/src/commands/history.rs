//! `dopq history`: finished jobs, as far back as the archive goes.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use dopq_common::api::{HistoryPage, Job, JobPage};

use super::context::Context;
use super::{jobs, when};
use crate::client::HistoryFilter;
use crate::exit;
use crate::failure::Failure;
use crate::output::Format;

/// The columns of `--csv`.
const COLUMNS: &str = "id,name,user,cause,exit_code,submitted_at,started_at,finished_at,ran_seconds,gpus,gpu_milli,\
                       node,attempts,labels";

/// Arguments of `dopq history`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// What to do instead of listing.
    #[command(subcommand)]
    command: Option<HistoryCommand>,
    /// Only jobs of this user
    #[arg(long, short)]
    user: Option<String>,
    /// Only jobs of users who are in this group now
    #[arg(long)]
    group: Option<String>,
    /// Only jobs that ended so, such as succeeded or user_error,oom_gpu
    #[arg(long)]
    cause: Option<String>,
    /// Only jobs with this label; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Ended since then: 2h, 7d, 2026-11-30 or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<DateTime<Utc>>,
    /// Ended before then
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<DateTime<Utc>>,
    /// Also the tasks of arrays, each in a line of its own
    #[arg(long)]
    tasks: bool,
    /// List at most this many [default: 50, with --csv all]
    #[arg(long, short = 'n', value_name = "NUMBER")]
    limit: Option<usize>,
    /// Comma-separated values with a header, for spreadsheets
    #[arg(long)]
    csv: bool,
}

/// Commands on the history.
#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// Forget finished jobs; charges stay
    Clear(ClearArguments),
}

/// Arguments of `dopq history clear`.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true)]
struct ClearArguments {
    /// Of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Ended before then: 90d for that long ago, 2026-11-30 or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    before: Option<DateTime<Utc>>,
}

/// Lists the newest first, or clears.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    if let Some(HistoryCommand::Clear(clear)) = &arguments.command {
        context
            .client()?
            .clear_history(clear.user.as_deref(), clear.before)
            .await
            .map_err(Failure::call("clear the history"))?;
        let note = "the history is being cleared, in the archive too; charges stay";
        context.output.note(note);
        return Ok(exit::DONE);
    }
    let client = context.client()?;
    let mut filter = HistoryFilter {
        user: arguments.user,
        group: arguments.group,
        cause: arguments.cause,
        label: arguments.label,
        since: arguments.since,
        until: arguments.until,
        tasks: arguments.tasks,
        before: None,
    };
    let is_csv = arguments.csv && context.output.format != Format::Json;
    let limit = arguments
        .limit
        .unwrap_or(if is_csv { usize::MAX } else { 50 });
    let mut all: Vec<Job> = Vec::new();
    let mut shown = 0;
    if is_csv {
        context.output.line(COLUMNS)?;
    }
    let next = loop {
        let page: HistoryPage = client
            .history(&filter, limit.saturating_sub(shown).max(1))
            .await
            .map_err(Failure::call("read the history"))?;
        shown += page.jobs.len();
        if is_csv {
            // Printed page by page: there may be millions.
            for job in &page.jobs {
                context.output.line(&csv(job))?;
            }
        } else {
            all.extend(page.jobs);
        }
        if page.next.is_none() || shown >= limit {
            break page.next;
        }
        filter.before = page.next;
    };
    if is_csv {
        return Ok(exit::DONE);
    }
    let page = HistoryPage {
        version: dopq_common::api::API_VERSION,
        jobs: all,
        next,
    };
    let now = context.now();
    let list = |page: &HistoryPage| JobPage {
        version: page.version,
        jobs: page.jobs.clone(),
        next: None,
    };
    context.output.show(
        &page,
        |page| jobs::table(&list(page), now),
        |page| jobs::names(&list(page)),
    )?;
    if page.next.is_some() {
        context.output.note("there are more; raise --limit");
    }
    Ok(exit::DONE)
}

fn csv(job: &Job) -> String {
    let time = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, |at| at.to_rfc3339());
    let outcome = job.outcome.as_ref();
    let labels = job
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let exit_code = outcome.and_then(|outcome| outcome.exit_code);
    [
        jobs::name(job).to_string(),
        quoted(&job.name),
        quoted(&job.user),
        outcome.map_or_else(String::new, |outcome| outcome.cause.clone()),
        exit_code.map_or_else(String::new, |code| code.to_string()),
        time(Some(job.submitted_at)),
        time(job.started_at),
        time(job.finished_at),
        job.ran_seconds
            .map_or_else(String::new, |ran| ran.to_string()),
        job.num_gpus.to_string(),
        job.gpu_milli
            .map_or_else(String::new, |milli| milli.to_string()),
        quoted(job.worker.as_deref().unwrap_or_default()),
        job.attempt.to_string(),
        quoted(&labels.collect::<Vec<_>>().join(" ")),
    ]
    .join(",")
}

/// A text that no spreadsheet takes for a formula or for several fields.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_headers_fields_and_no_formula() {
        let job: Job = serde_json::from_value(serde_json::json!({
            "id": 7, "name": "=cmd|' /C calc'!A1", "user": "anna", "state": "finished",
            "outcome": {"cause": "user_error", "exit_code": 3, "hint": "", "detail": ""}, "attempt": 2,
            "worker": "gpu-1", "gpus": [], "submitted_at": "2026-11-24T07:00:00Z",
            "started_at": "2026-11-24T07:00:09Z", "finished_at": "2026-11-24T08:00:00Z", "position": null,
            "reason": null, "class": "normal", "priority": 0, "num_gpus": 1, "gpu_milli": 500, "bundle": null,
            "labels": {"a": "b,\"c\""}, "log_bytes": null, "ran_seconds": 1.5
        }))
        .unwrap();
        let line = csv(&job);
        assert!(
            line.starts_with("7,'=cmd|' /C calc'!A1,anna,user_error,3,2026-11-24T07:00:00"),
            "{line}"
        );
        assert!(
            line.ends_with(",1.5,1,500,gpu-1,2,\"a=b,\"\"c\"\"\""),
            "{line}"
        );
        assert_eq!(COLUMNS.split(',').count(), 14);
    }
}
