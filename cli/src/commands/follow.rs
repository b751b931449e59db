//! Follows a job to its end, by its log or its tasks: shared by `logs -f`, `submit --follow` and `retry --follow`.

use std::task::Poll;

use dopq_common::api::{Job, LogEnd, Outcome};
use dopq_common::id::JobName;

use super::context::Context;
use super::jobs;
use super::progress::Progress;
use super::standing::Standing;
use crate::client::{Client, Followed, JobWatcher, LogFollower, LogQuery};
use crate::exit;
use crate::failure::Failure;
use crate::output::{Format, LogPrinter};

/// What to print.
#[derive(Debug, Clone, Default)]
pub(super) struct LogRequest {
    /// Which part of the log.
    pub(super) query: LogQuery,
    /// Only pieces of these sources; all when empty.
    pub(super) sources: Vec<String>,
    /// Bytes as they are, even to a terminal.
    pub(super) raw: bool,
    /// Tell how the job stands until its log begins, from this state on, which was told.
    pub(super) told: Option<String>,
}

/// How following ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The log ended; the job as it was then.
    Log(Box<Job>),
    /// Ctrl-C was pressed.
    Interrupted,
}

/// Prints the log until it ends or Ctrl-C is pressed.
pub(super) async fn print(
    context: &Context,
    client: &Client,
    job: JobName,
    request: LogRequest,
) -> Result<Ended, Failure> {
    let mut follower = LogFollower::new(client.clone(), job, request.query);
    let mut printer = LogPrinter::new(context.output, request.raw);
    let mut standing = Standing::new(client, job, context.output, request.told);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let mut next = std::pin::pin!(follower.next());
        let next = match futures::poll!(next.as_mut()) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                printer.flush()?;
                tokio::select! {
                    next = next => next,
                    () = standing.watch() => continue,
                    _ = &mut interrupt => {
                        standing.end();
                        printer.finish()?;
                        return Ok(Ended::Interrupted);
                    }
                }
            }
        };
        standing.end();
        match next {
            Err(error) => {
                printer.flush()?;
                return Err(Failure::call(format!("read the log of job {job}"))(error));
            }
            Ok(Followed::Piece(piece)) => {
                if request.sources.is_empty() || request.sources.contains(&piece.source) {
                    printer.print(&piece)?;
                }
            }
            Ok(Followed::End(job)) => {
                printer.finish()?;
                if context.output.format == Format::Json {
                    context.output.json_line(&LogEnd {
                        job: (*job).clone(),
                    })?;
                }
                return Ok(Ended::Log(job));
            }
        }
    }
}

/// How a job ended, for people.
pub(super) fn summary(job: &Job) -> String {
    use crate::output::text::clean;
    let Some(outcome) = &job.outcome else {
        return format!("job {} is {}", jobs::name(job), clean(&job.state));
    };
    let mut text = format!("job {} ended: {}", jobs::name(job), clean(&outcome.cause));
    if let Some(code) = outcome.exit_code {
        text.push_str(&format!(", exit code {code}"));
    }
    if outcome.cause != "succeeded" {
        for part in [outcome.detail.as_str(), &hint(job, outcome)] {
            if !part.is_empty() {
                text.push_str(&format!("\n  {}", clean(part)));
            }
        }
    }
    text
}

/// What the user can do; commands in it name the job, ready to be copied.
pub(super) fn hint(job: &Job, outcome: &Outcome) -> String {
    let name = jobs::name(job).to_string();
    let Some(array) = &job.array else {
        return outcome.hint.replace("JOB", &name);
    };
    if outcome.hint.is_empty() {
        return String::new();
    }
    let first = array.failed_indexes.split(['-', ',']).next();
    let look = match first.filter(|index| !index.is_empty()) {
        Some(index) => format!("see the first failed task: dopq logs {name}_{index}"),
        None => format!("see the failed tasks: dopq show {name}"),
    };
    format!("{look}; run the failed tasks again: dopq retry {name} --failed")
}

/// Follows a job's log, or the progress of an array, to the end; returns the exit code.
pub(super) async fn follow_to_end(
    context: &Context,
    client: &Client,
    job: &Job,
) -> Result<u8, Failure> {
    let ended = if job.array.is_some() {
        watch(context, client, job).await?
    } else {
        let request = LogRequest {
            query: LogQuery {
                follow: true,
                ..LogQuery::default()
            },
            told: Some(job.state.clone()),
            ..LogRequest::default()
        };
        print(context, client, jobs::name(job), request).await?
    };
    match ended {
        Ended::Log(job) => {
            context.output.note(&summary(&job));
            Ok(exit::of_job(&job))
        }
        Ended::Interrupted => {
            let id = jobs::name(job);
            let join = if job.array.is_some() {
                "wait"
            } else {
                "logs -f"
            };
            context.output.note(&format!(
                "job {id} continues; to follow it again: dopq {join} {id}; to cancel it: dopq cancel {id}"
            ));
            Ok(exit::INTERRUPTED)
        }
    }
}

/// Shows the progress of an array until it finishes or Ctrl-C is pressed.
async fn watch(context: &Context, client: &Client, job: &Job) -> Result<Ended, Failure> {
    let name = jobs::name(job);
    let mut watcher = JobWatcher::new(client.clone(), [name]);
    let mut progress = Progress::new(&context.output);
    let waited = tokio::select! {
        waited = watcher.wait(|job| progress.update(job)) => waited,
        _ = tokio::signal::ctrl_c() => return Ok(Ended::Interrupted),
    };
    waited.map_err(Failure::call(format!("wait for job {name}")))?;
    let over = client
        .job(name)
        .await
        .map_err(Failure::call(format!("show job {name}")))?;
    if context.output.format == Format::Json {
        context.output.json_line(&LogEnd { job: over.clone() })?;
    }
    Ok(Ended::Log(Box::new(over)))
}
