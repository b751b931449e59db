//! `dopq fetch`: downloads what a job, or each task of an array, wrote to `/outdir`.

use std::io::Seek;
use std::path::{Path, PathBuf};

use clap::Args;
use dopq_common::api::{Array, ErrorCode, Job};
use dopq_common::id::{JobId, JobName};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::context::Context;
use super::{jobs, progress};
use crate::bundle::{Unpacked, unpack};
use crate::client::{self, Client, JobFilter};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{bytes, clean, count};
use crate::output::{Column, Format, Table};
use crate::select::{Selection, Whose, resolve};

/// The list of what is there and what was left out.
const MANIFEST: &str = "dopq-manifest.json";

/// Arguments of `dopq fetch`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 1423, 3-7, 3,5-7, last, or tasks such as 1423_7; each task of an array gets its own folder
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<Selection>,
    /// New folder for one job's results [default: dopq-JOB]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Attempt [default: the last]
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
}

/// What was downloaded.
#[derive(Debug, Serialize)]
struct Fetched {
    job: u64,
    #[serde(skip)]
    name: JobName,
    folder: PathBuf,
    files: u64,
    bytes: u64,
    skipped: Vec<String>,
}

/// Fetches the results of each job.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let ids = resolve(&client, &arguments.jobs, Whose::Mine).await?;
    if ids.len() > 1 && arguments.into.is_some() {
        return Err(Failure::Usage(
            "--into takes one job; leave it out to get a folder for each job".to_owned(),
        ));
    }
    let mut all = Vec::new();
    for id in ids {
        let job = client.job(id).await;
        let job = job.map_err(Failure::call(format!("find job {id}")))?;
        let folder = arguments
            .into
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("dopq-{id}")));
        let fetcher = Fetcher {
            context,
            client: &client,
            attempt: arguments.attempt,
        };
        match &job.array {
            None => all.push(fetcher.fetch(&job, folder).await?),
            Some(array) => all.extend(fetcher.fetch_tasks(&job, array, &folder).await?),
        }
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

/// How to fetch results.
struct Fetcher<'a> {
    context: &'a Context,
    client: &'a Client,
    attempt: Option<u32>,
}

impl Fetcher<'_> {
    /// Each task that has results, into a folder named by its index. A folder that exists is not fetched again, so
    /// that an interrupted fetch can be resumed.
    async fn fetch_tasks(
        &self,
        job: &Job,
        array: &Array,
        folder: &Path,
    ) -> Result<Vec<Fetched>, Failure> {
        let filter = JobFilter {
            array: Some(JobId(job.id)),
            ..JobFilter::default()
        };
        let page = self.client.jobs(&filter, usize::MAX).await;
        let page = page.map_err(Failure::call(format!("list the tasks of job {}", job.id)))?;
        let (mut fetched, mut there) = (Vec::new(), 0);
        for task in page.jobs.iter().rev().filter(|task| task.attempt > 0) {
            let Some(place) = task.task else { continue };
            let folder = folder.join(place.index.to_string());
            if folder.exists() {
                there += 1;
                continue;
            }
            match self.fetch(task, folder).await {
                Ok(one) => fetched.push(one),
                Err(Failure::Call {
                    source: client::Error::Refused(body),
                    ..
                }) if body.code == ErrorCode::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        if fetched.is_empty() && there == 0 {
            return Err(Failure::Nothing(format!(
                "no task of array {} has results",
                job.id
            )));
        }
        let before = if there == 0 {
            String::new()
        } else {
            format!(", {there} fetched before")
        };
        self.context.output.note(&format!(
            "array {}: results of {} of {} tasks{before}, in {}",
            job.id,
            fetched.len() + there,
            array.total,
            folder.display()
        ));
        Ok(fetched)
    }

    async fn fetch(&self, job: &Job, folder: PathBuf) -> Result<Fetched, Failure> {
        let output = &self.context.output;
        let name = jobs::name(job);
        let unpacked = self.unpack(name, folder.clone()).await?;
        for name in &unpacked.skipped {
            output.warn(&format!(
                "left out {}: it is a special file, or a link that may lead out of the folder",
                clean(name)
            ));
        }
        let last = self.attempt.is_none_or(|number| number == job.attempt);
        if let Some(results) = job.results.as_ref().filter(|r| last && !r.complete) {
            for one in &results.left_out_first {
                output.warn(&format!("not stored: {}: {}", clean(&one.path), one.reason));
            }
            output.warn(&format!(
                "the results of job {name} are incomplete ({} left out): see {}",
                results.left_out,
                folder.join(MANIFEST).display()
            ));
        }
        output.note(&format!(
            "job {name}: {}, {}, in {}",
            count(unpacked.files, "file", "files"),
            bytes(unpacked.bytes),
            folder.display()
        ));
        Ok(Fetched {
            job: job.id,
            name,
            folder,
            files: unpacked.files,
            bytes: unpacked.bytes,
            skipped: unpacked.skipped,
        })
    }

    async fn unpack(&self, job: JobName, folder: PathBuf) -> Result<Unpacked, Failure> {
        let failed = |source| Failure::Unpack { job, source };
        if folder.exists() {
            return Err(failed(crate::bundle::UnpackError::Exists { path: folder }));
        }
        let mut response = self
            .client
            .results(job, self.attempt)
            .await
            .map_err(Failure::call(format!("fetch the results of job {job}")))?;
        let bar = progress::bytes(&self.context.output, "fetching", response.content_length());
        // The archive is unpacked once it is complete, so that an interrupted download leaves nothing.
        let spool = tempfile::tempfile().map_err(Failure::Start)?;
        let mut file = tokio::fs::File::from_std(spool);
        loop {
            let piece = response.chunk().await.map_err(|source| Failure::Call {
                doing: format!("fetch the results of job {job}"),
                source: client::Error::Strange {
                    url: self.client.url(),
                    detail: format!("the download was interrupted: {}", source.without_url()),
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
            one.name.to_string().into(),
            one.files.to_string().into(),
            bytes(one.bytes).into(),
            one.folder.display().to_string().into(),
        ]);
    }
    table
}
