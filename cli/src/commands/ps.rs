//! `dopq ps`: lists jobs.

use clap::Args;
use dopq_common::id::JobId;

use super::context::Context;
use super::jobs;
use crate::client::JobFilter;
use crate::exit;
use crate::failure::Failure;

/// The states of jobs that have not finished.
pub(crate) const ACTIVE: [&str; 7] = [
    "queued",
    "assigned",
    "building",
    "running",
    "paused",
    "stopping",
    "publishing",
];

/// Arguments of `dopq ps`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Also finished jobs
    #[arg(long, short)]
    all: bool,
    /// Only jobs in these states, such as queued,running or finished
    #[arg(long, short, value_delimiter = ',', value_parser = state, conflicts_with = "all")]
    state: Vec<String>,
    /// Only jobs of this user
    #[arg(long, short)]
    user: Option<String>,
    /// List the started tasks of this array instead, in any state
    #[arg(long, value_name = "JOB")]
    array: Option<JobId>,
    /// List at most this many
    #[arg(long, short = 'n', default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
}

/// Parses a state.
pub(super) fn state(text: &str) -> Result<String, String> {
    if ACTIVE.contains(&text) || text == "finished" {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a state; use {} or finished",
            ACTIVE.join(", ")
        ))
    }
}

/// Lists jobs.
pub(crate) async fn run(context: &Context, arguments: Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let states = if arguments.all || (arguments.array.is_some() && arguments.state.is_empty()) {
        Vec::new()
    } else if arguments.state.is_empty() {
        ACTIVE.map(str::to_owned).to_vec()
    } else {
        arguments.state
    };
    let filter = JobFilter {
        states,
        user: arguments.user,
        array: arguments.array,
        ..JobFilter::default()
    };
    let page = client
        .jobs(&filter, arguments.limit.max(1))
        .await
        .map_err(Failure::call("list jobs"))?;
    let now = context.now();
    context
        .output
        .show(&page, |page| jobs::table(page, now), jobs::names)?;
    if page.jobs.is_empty() && arguments.array.is_some() {
        context.output.note("no task of this array has started");
    } else if page.jobs.is_empty() && !arguments.all {
        context
            .output
            .note("no jobs; to include finished jobs: dopq ps --all");
    } else if page.next.is_some() {
        context.output.note(&format!(
            "{} shown, there are more; raise --limit",
            page.jobs.len()
        ));
    }
    Ok(exit::DONE)
}
