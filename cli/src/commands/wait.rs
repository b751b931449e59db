//! `dopq wait`: waits until jobs finish, and exits with their exit code.

use std::time::Duration;

use clap::Args;
use dopq_common::api::{API_VERSION, JobPage};

use super::context::Context;
use super::follow::summary;
use super::jobs;
use super::progress::Progress;
use crate::client::JobWatcher;
use crate::exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq wait`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
    /// Give up after this time, such as 90s or 2h, with exit code 124; the jobs continue
    #[arg(long, value_name = "TIME", value_parser = dopq_common::bundle::config::duration)]
    timeout: Option<Duration>,
}

/// Waits. With several jobs the exit code is the first one by id that is not 0.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs, Whose::Anybodys).await?;
    let mut watcher = JobWatcher::new(client, ids);
    let mut progress = Progress::new(&context.output);
    let in_time = {
        let waiting = watcher.wait(|job| progress.update(job));
        let result = match arguments.timeout {
            None => Some(waiting.await),
            Some(timeout) => tokio::time::timeout(timeout, waiting).await.ok(),
        };
        match result {
            Some(result) => {
                result.map_err(Failure::call("wait for the jobs"))?;
                true
            }
            None => false,
        }
    };
    let finished: Vec<_> = watcher.finished().values().cloned().collect();
    let code = finished
        .iter()
        .map(exit::of_job)
        .find(|code| *code != exit::DONE)
        .unwrap_or(exit::DONE);
    if context.output.format == Format::Table {
        for job in finished
            .iter()
            .filter(|job| exit::of_job(job) != exit::DONE)
        {
            context.output.note(&summary(job));
        }
    }
    let page = JobPage {
        version: API_VERSION,
        jobs: finished,
        next: None,
    };
    let now = context.now();
    if !page.jobs.is_empty() || context.output.format == Format::Json {
        context
            .output
            .show(&page, |page| jobs::table(page, now), jobs::names)?;
    }
    if in_time {
        return Ok(code);
    }
    let pending: Vec<String> = watcher.pending().iter().map(ToString::to_string).collect();
    context
        .output
        .note(&format!("timed out; not finished: {}", pending.join(", ")));
    Ok(exit::TIMED_OUT)
}
