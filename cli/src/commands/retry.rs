//! `dopq retry`: runs finished jobs again, or the tasks of an array that did not succeed.

use clap::Args;
use dopq_common::api::RetryRequest;

use super::context::Context;
use super::follow::follow_to_end;
use super::submit::{random_key, report};
use crate::exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::select::{Selection, Whose, resolve};

/// Arguments of `dopq retry`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7, last, or a task such as 1423_7
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
    /// Only the tasks of an array that did not succeed
    #[arg(long)]
    failed: bool,
    /// Follow the new job's log until it finishes, and exit with its exit code
    #[arg(long, short)]
    follow: bool,
}

/// Submits a copy of each job. A request is repeated with the same key, so that a lost answer cannot retry twice.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let names = resolve(&client, &arguments.jobs, Whose::Mine).await?;
    let several = names.len() > 1;
    if arguments.follow && several {
        return Err(Failure::Usage("--follow takes one job".to_owned()));
    }
    let request = RetryRequest {
        failed: arguments.failed,
    };
    let mut code = exit::DONE;
    for name in names {
        let key = random_key()?;
        let job = client.retry(name, &request, &key).await;
        let job = job.map_err(Failure::call(format!("retry job {name}")))?;
        if several && context.output.format == Format::Json {
            // One document a line.
            context.output.json_line(&job)?;
        } else {
            report(context, &job, arguments.follow)?;
        }
        if arguments.follow {
            code = follow_to_end(context, &client, &job).await?;
        }
    }
    Ok(code)
}
