//! `dopq init`: writes a Dockerfile and a configuration for a folder. No file is overwritten without `--force`.
//!
//! What the files contain is in [`template`].

mod template;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use dopq_common::id::UserName;
use serde::Serialize;

use self::template::{Content, Found, Template, config, job_name};
use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::output::text::clean;

/// How long to wait for the master to say who the user is.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a job's `executor_name` must have, as the validator says.
const USER_MIN_CHARS: usize = 3;

/// Arguments of `dopq init`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder; made if it does not exist
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Template [default: by requirements.txt and pyproject.toml]
    #[arg(long, short, value_enum)]
    template: Option<Template>,
    /// Overwrite an existing Dockerfile and container_config.json
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    folder: PathBuf,
    template: Template,
    executor_name: String,
    written: Vec<&'static str>,
    kept: Vec<&'static str>,
}

/// Who runs the job, and how that is known.
enum Executor {
    /// The master knows the user's token.
    Confirmed(String),
    /// The name on this machine, or a placeholder.
    Assumed(String),
}

/// Writes the files and says what to do next.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let folder = &arguments.folder;
    let failed = |path: &Path, source| Failure::File {
        doing: "write",
        path: path.to_owned(),
        source,
    };
    let has = |name: &str| folder.join(name).symlink_metadata().is_ok();
    if has("Dockerfile") && has("container_config.json") && !arguments.force {
        return Err(Failure::Exists(folder.clone()));
    }
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let whole = folder
        .canonicalize()
        .map_err(|source| failed(folder, source))?;
    let name = job_name(&whole.file_name().unwrap_or_default().to_string_lossy());
    let found = Found::look(|name| {
        let bytes = fs::read(folder.join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    let template = arguments.template.unwrap_or_else(|| found.template());
    let executor = executor(context).await;
    let (Executor::Confirmed(user) | Executor::Assumed(user)) = &executor;
    let gpus = u32::from(template != Template::Plain);

    let mut files = vec![config(&name, user, gpus)];
    // A Dockerfile of the user's own knows what it starts.
    let own_image = has("Dockerfile") && !arguments.force;
    if !own_image {
        files.extend(found.image(template, &name));
    }
    let mut report = Report {
        folder: folder.clone(),
        template,
        executor_name: user.clone(),
        written: Vec::new(),
        kept: own_image.then_some("Dockerfile").into_iter().collect(),
    };
    for file in files {
        let path = folder.join(file.name);
        if write(&path, &file, arguments.force).map_err(|source| failed(&path, source))? {
            report.written.push(file.name);
        } else {
            report.kept.push(file.name);
        }
    }
    show(context, &report)?;
    context.output.note(&next(&report, &executor));
    Ok(exit::DONE)
}

/// Writes a file unless it exists; `force` replaces it. Returns whether it wrote.
fn write(path: &Path, file: &Content, force: bool) -> io::Result<bool> {
    if force && path.symlink_metadata().is_ok() {
        // The name goes, not what a link leads to.
        fs::remove_file(path)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut opened) => {
            opened.write_all(file.text.as_bytes())?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The user: as the master knows the token, else as on this machine.
async fn executor(context: &Context) -> Executor {
    if let Ok(client) = context.client()
        && let Ok(Ok(me)) = tokio::time::timeout(ASK_TIMEOUT, client.whoami()).await
    {
        return Executor::Confirmed(me.name);
    }
    let here = ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| name.chars().count() >= USER_MIN_CHARS && name.parse::<UserName>().is_ok());
    Executor::Assumed(here.unwrap_or_else(|| "your-name".to_owned()))
}

fn show(context: &Context, report: &Report) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        context.output.json(report)?;
        return Ok(());
    }
    for name in &report.written {
        let path = clean(&report.folder.join(name).display().to_string());
        let line = match context.output.format {
            Format::Table => format!("wrote {path}"),
            Format::Quiet | Format::Json => path,
        };
        context.output.line(&line)?;
    }
    Ok(())
}

/// What to do next.
fn next(report: &Report, executor: &Executor) -> String {
    let mut lines = Vec::new();
    if !report.kept.is_empty() {
        let kept = report.kept.join(", ");
        lines.push(format!("kept {kept}; to overwrite: --force"));
    }
    if let Executor::Assumed(user) = executor {
        lines.push(format!(
            "executor_name is {user}; if DoPQ knows you by another name, correct it in container_config.json"
        ));
    }
    if report.template == Template::Plain {
        lines
            .push("the job gets no GPU; for one, set num_gpus in container_config.json".to_owned());
    }
    let place = quoted(&report.folder.display().to_string());
    lines.push("next:".to_owned());
    for (command, does) in [
        (format!("dopq check {place}"), "validate the bundle"),
        (
            format!("dopq submit {place} --follow"),
            "run it and print its log",
        ),
        (
            "dopq fetch last".to_owned(),
            "download what it left in /outdir",
        ),
    ] {
        lines.push(format!("  {command:<32} {does}"));
    }
    lines.join("\n")
}

/// A path as a shell reads it.
fn quoted(text: &str) -> String {
    let text = clean(text);
    let is_plain = |c: char| c.is_alphanumeric() || "._-/+,@".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
