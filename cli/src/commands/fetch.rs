//! `dopq fetch`: brings home what a job left in `/outdir`.

use std::io::Seek;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::context::Context;
use super::progress;
use crate::bundle::{Unpacked, unpack};
use crate::client::{self, Client};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{bytes, clean, count};
use crate::output::{Column, Format, Table};
use crate::select::{Selection, resolve};

/// Arguments of `dopq fetch`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which jobs: 1423, 3-7, 3,5-7 or last
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
    /// The new folder for one job's results; dopq-JOB in the current folder when absent
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Of this attempt instead of the last
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
}

/// What came home.
#[derive(Debug, Serialize)]
struct Fetched {
    job: u64,
    folder: PathBuf,
    files: u64,
    bytes: u64,
    skipped: Vec<String>,
}

/// Fetches the results of each job.
pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs).await?;
    if ids.len() > 1 && arguments.into.is_some() {
        return Err(Failure::Usage(
            "--into names the folder of one job; leave it out to get one folder for each"
                .to_owned(),
        ));
    }
    let mut all = Vec::new();
    for id in ids {
        let folder = arguments
            .into
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("dopq-{id}")));
        let unpacked = fetch(context, &client, id, arguments.attempt, folder.clone()).await?;
        for name in &unpacked.skipped {
            context.output.warn(&format!(
                "{} is a link or special file and was left out",
                clean(name)
            ));
        }
        context.output.note(&format!(
            "job {id}: {}, {}, in {}",
            count(unpacked.files, "file", "files"),
            bytes(unpacked.bytes),
            folder.display()
        ));
        all.push(Fetched {
            job: id,
            folder,
            files: unpacked.files,
            bytes: unpacked.bytes,
            skipped: unpacked.skipped,
        });
    }
    match context.output.format {
        Format::Json => context.output.json(&all)?,
        Format::Table | Format::Quiet => {
            context.output.show(
                &all,
                |all| table(all),
                |all| {
                    all.iter()
                        .map(|one| one.folder.display().to_string())
                        .collect()
                },
            )?;
        }
    }
    Ok(exit::DONE)
}

async fn fetch(
    context: &Context,
    client: &Client,
    id: u64,
    attempt: Option<u32>,
    folder: PathBuf,
) -> Result<Unpacked, Failure> {
    let failed = |source| Failure::Unpack { job: id, source };
    if folder.exists() {
        return Err(failed(crate::bundle::UnpackError::Exists { path: folder }));
    }
    let mut response = client
        .results(id, attempt)
        .await
        .map_err(Failure::call(format!("fetch the results of job {id}")))?;
    let bar = progress::bytes(&context.output, "fetching", response.content_length());
    // The archive is stored whole before it is unpacked, so that a broken download leaves nothing.
    let spool = tempfile::tempfile().map_err(Failure::Start)?;
    let mut file = tokio::fs::File::from_std(spool);
    loop {
        let piece = response.chunk().await.map_err(|source| Failure::Call {
            doing: format!("fetch the results of job {id}"),
            source: client::Error::Strange {
                url: client.url(),
                detail: format!("the download broke off: {}", source.without_url()),
                temporary: true,
            },
        })?;
        let Some(piece) = piece else { break };
        bar.inc(u64::try_from(piece.len()).unwrap_or(0));
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    bar.finish_and_clear();
    let mut file = file.into_std().await;
    let unpacked = tokio::task::spawn_blocking(move || {
        file.rewind().map_err(crate::bundle::UnpackError::Read)?;
        unpack(std::io::BufReader::new(file), &folder)
    });
    match unpacked.await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(Failure::Start(std::io::Error::other(error))),
    }
}

fn table(all: &[Fetched]) -> Table {
    let mut table = Table::new(&[
        Column::number("JOB"),
        Column::number("FILES"),
        Column::number("SIZE"),
        Column::text("FOLDER"),
    ]);
    for one in all {
        table.row([
            one.job.to_string().into(),
            one.files.to_string().into(),
            bytes(one.bytes).into(),
            one.folder.display().to_string().into(),
        ]);
    }
    table
}
