//! `dopq ps`: lists jobs.

use clap::Args;
use dopq_common::id::JobId;

use super::context::Context;
use super::jobs;
use crate::client::JobFilter;
use crate::exit;
use crate::failure::Failure;

/// The states of jobs that have not finished.
pub(super) const ACTIVE: [&str; 6] = [
    "queued", "assigned", "building", "running", "paused", "stopping",
];

/// Arguments of `dopq ps`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Also those that have finished
    #[arg(long, short)]
    all: bool,
    /// Only those in these states, such as queued,running or finished
    #[arg(long, short, value_delimiter = ',', value_parser = state, conflicts_with = "all")]
    state: Vec<String>,
    /// Only those of this user
    #[arg(long, short)]
    user: Option<String>,
    /// Instead of jobs the tasks of this array that have begun, whatever their state
    #[arg(long, value_name = "JOB")]
    array: Option<JobId>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
}

/// Reads a state's word.
pub(super) fn state(text: &str) -> Result<String, String> {
    if ACTIVE.contains(&text) || text == "finished" {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no state; there are {}, finished",
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
        context.output.note("no such tasks have begun");
    } else if page.jobs.is_empty() && !arguments.all {
        context
            .output
            .note("no such jobs; dopq ps --all lists finished ones too");
    } else if page.next.is_some() {
        context.output.note(&format!(
            "there are more than these {}; raise --limit",
            page.jobs.len()
        ));
    }
    Ok(exit::DONE)
}
