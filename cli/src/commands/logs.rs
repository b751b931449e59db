//! `dopq logs`: prints a job's log.

use clap::Args;

use super::context::Context;
use super::follow::{Ended, LogRequest, print, summary};
use super::jobs;
use crate::client::LogQuery;
use crate::exit;
use crate::failure::Failure;
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq logs`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Job: 1423, last, or a task such as 1423_7
    #[arg(value_name = "JOB")]
    job: Selection,
    /// Follow the log until the job finishes
    #[arg(long, short)]
    follow: bool,
    /// Only these sources
    #[arg(long, value_delimiter = ',', value_parser = ["dopq", "build", "stdout", "stderr"])]
    source: Vec<String>,
    /// Only this many last lines
    #[arg(long, value_name = "NUMBER")]
    tail: Option<u64>,
    /// Only this attempt, from 1
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Do not filter terminal escapes; only for logs that you trust
    #[arg(long)]
    raw: bool,
}

/// Prints the log.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, std::slice::from_ref(&arguments.job), Whose::Mine).await?;
    let [id] = ids.as_slice() else {
        return Err(Failure::Usage("logs takes one job".to_owned()));
    };
    let request = LogRequest {
        query: LogQuery {
            attempt: arguments.attempt,
            follow: arguments.follow,
            tail: arguments.tail,
        },
        sources: arguments.source.clone(),
        raw: arguments.raw,
        told: arguments.follow.then(String::new),
    };
    match print(context, &client, *id, request).await? {
        Ended::Interrupted => Ok(exit::INTERRUPTED),
        Ended::Log(job) => {
            if arguments.follow {
                context.output.note(&summary(&job));
            } else if job.attempt == 0 && job.outcome.is_none() {
                context.output.note(&format!(
                    "job {} has not started; to see why: dopq explain {0}",
                    jobs::name(&job)
                ));
            }
            Ok(exit::DONE)
        }
    }
}
