//! `dopq ps`: lists jobs.

use chrono::{DateTime, Utc};
use clap::Args;
use dopq_common::api::JobPage;

use super::context::Context;
use super::filter::Filter;
use super::jobs;
use super::list::{self, Look, Remark, Watch};
use super::when;
use crate::client::JobFilter;
use crate::failure::Failure;
use crate::select::ArrayName;

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
    #[command(flatten)]
    filter: Filter,
    /// Only jobs submitted since: 2h, 7d, 2026-11-30 or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<DateTime<Utc>>,
    /// Only jobs submitted before
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<DateTime<Utc>>,
    /// List the started tasks of this array instead, in any state
    #[arg(long, value_name = "JOB")]
    array: Option<ArrayName>,
    /// List at most this many
    #[arg(long, short = 'n', default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
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
    let of_array = arguments.array.is_some();
    let states = if arguments.all || (of_array && arguments.state.is_empty()) {
        Vec::new()
    } else if arguments.state.is_empty() {
        ACTIVE.map(str::to_owned).to_vec()
    } else {
        arguments.state
    };
    let unfinished_only = !arguments.all && states.len() == ACTIVE.len();
    let filter = JobFilter {
        states,
        user: arguments.filter.user(&client).await?,
        labels: arguments.filter.labels().to_vec(),
        since: arguments.since,
        until: arguments.until,
        array: match arguments.array {
            Some(array) => Some(array.id(&client).await?),
            None => None,
        },
        ..JobFilter::default()
    };
    let look = Look {
        tables: |page: &JobPage, now| vec![jobs::table(page, now)],
        names: jobs::names,
    };
    list::show(context, arguments.watch, &look, async || {
        let page = client.jobs(&filter, arguments.limit.max(1)).await;
        let page = page.map_err(Failure::call("list jobs"))?;
        let shown = page.jobs.len();
        let remark = if shown == 0 && of_array {
            Some("no task of this array has started".to_owned())
        } else if shown == 0 && unfinished_only {
            Some("no jobs; to include finished jobs: dopq ps --all".to_owned())
        } else if shown == 0 {
            Some("no jobs".to_owned())
        } else {
            let more = page.next.is_some();
            more.then(|| format!("{shown} shown, there are more; raise --limit"))
        };
        let remarks = remark.map(Remark::Note).into_iter().collect();
        Ok((page, remarks))
    })
    .await
}
