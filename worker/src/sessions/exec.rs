//! Runs a command in the container of a session.

use std::sync::Arc;
use std::time::Duration;

use dopq_common::chain::chain;
use dopq_common::session::{Channel, PIECE_MAX_BYTES, WINDOW};
use dopq_common::wire::{EndCause, ExecRequest, SessionEnd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::work::{Input, OUTPUT_AHEAD, Output, Work, pass_on};
use crate::docker::{Attached, Client, Error, Frames};
use crate::driver::Context;
use crate::options::ExecOptions;

/// Between two looks whether a command ended that says no more.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// The code of a command that cannot be run, as shells have it.
const CANNOT_RUN: i32 = 126;

/// Why the settings forbid it, if they do.
pub(super) fn forbidden(options: &ExecOptions, request: &ExecRequest) -> Option<SessionEnd> {
    let why = if !options.allow {
        "this worker lets nobody enter containers (setting exec.allow)"
    } else if request.privileged && !options.privileged {
        "this worker runs no privileged commands (setting exec.privileged)"
    } else if request.user.is_some() && !options.users {
        "this worker runs commands only as the container's own user (setting exec.users)"
    } else {
        return None;
    };
    Some(SessionEnd::new(EndCause::Refused, why))
}

/// Starts the command. `None` if it runs and nothing more is to be done.
pub(super) async fn start(
    context: &Arc<Context>,
    container: &Arc<str>,
    request: &ExecRequest,
) -> Result<Option<Work>, SessionEnd> {
    if let Some(end) = forbidden(&context.options.settings.exec, request) {
        return Err(end);
    }
    let client = context.engine.commands().map_err(failed)?;
    let exec = client.create_exec(container, request).await;
    let exec: Arc<str> = Arc::from(exec.map_err(failed)?);
    if request.detach {
        client.start_detached(&exec).await.map_err(failed)?;
        return Ok(None);
    }
    let attached = client.start_attached(&exec, request.tty).await;
    let (reader, writer) = tokio::io::split(attached.map_err(failed)?);
    let (input, inputs) = mpsc::channel(usize::try_from(WINDOW).unwrap_or(1));
    let (took, taken) = mpsc::channel(usize::try_from(WINDOW).unwrap_or(1));
    let (out, output) = mpsc::channel(OUTPUT_AHEAD);
    // They end with the session, which drops the other ends, or with the connection.
    context.spawn(write(
        client.clone(),
        Arc::clone(&exec),
        writer,
        inputs,
        took,
    ));
    match request.tty {
        true => context.spawn(pass_on(reader, out)),
        false => context.spawn(read(reader, out)),
    }
    let ending = end(client.clone(), Arc::clone(&exec));
    let stopping = stop(client.clone(), Arc::clone(container), exec);
    Ok(Some(Work {
        input,
        taken,
        output,
        end: Box::pin(ending),
        stop: Box::pin(stopping),
    }))
}

fn failed(error: Error) -> SessionEnd {
    match error {
        Error::Command { exit_code, message } => SessionEnd {
            exit_code: Some(exit_code),
            ..SessionEnd::new(EndCause::NotFound, message)
        },
        // The engine's word for a user or a folder that the container does not have.
        Error::Refused { message } => SessionEnd {
            exit_code: Some(CANNOT_RUN),
            ..SessionEnd::new(EndCause::NotFound, message)
        },
        Error::NotFound { message } | Error::Conflict { message } => {
            SessionEnd::new(EndCause::ContainerEnded, message)
        }
        error => SessionEnd::new(EndCause::Failed, format!("failed to {}", chain(&error))),
    }
}

/// Writes what arrives to the command. A command that reads no more loses it, as behind a pipe.
async fn write(
    client: Client,
    exec: Arc<str>,
    mut writer: WriteHalf<Attached>,
    mut inputs: mpsc::Receiver<Input>,
    took: mpsc::Sender<()>,
) {
    while let Some(input) = inputs.recv().await {
        let written = match input {
            Input::Data(bytes) => writer.write_all(&bytes).await,
            Input::Close => writer.shutdown().await,
            Input::Resize(rows, columns) => {
                if let Err(error) = client.resize_exec(&exec, rows, columns).await {
                    tracing::debug!(error = chain(&error), "failed to resize a terminal");
                }
                Ok(())
            }
        };
        if let Err(error) = written {
            tracing::debug!(%error, "a command takes no more input");
        }
        if took.send(()).await.is_err() {
            return;
        }
    }
}

/// Reads what a command without a terminal says.
async fn read(mut reader: ReadHalf<Attached>, out: mpsc::Sender<Output>) {
    let mut frames = Frames::default();
    let mut bytes = vec![0; PIECE_MAX_BYTES];
    loop {
        let arrived = match reader.read(&mut bytes).await {
            Ok(0) => return,
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%error, "the output of a command broke off");
                return;
            }
        };
        frames.push(arrived);
        loop {
            let (is_error, piece) = match frames.next(PIECE_MAX_BYTES) {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the output of a command");
                    return;
                }
            };
            let channel = if is_error {
                Channel::Error
            } else {
                Channel::Output
            };
            let piece = Output::Data(channel, piece.to_vec());
            if out.send(piece).await.is_err() {
                return;
            }
        }
    }
}

/// Waits for the end of a command that says no more.
async fn end(client: Client, exec: Arc<str>) -> SessionEnd {
    let mut pause = LOOK;
    loop {
        match client.inspect_exec(&exec).await {
            Ok(seen) if seen.running => {}
            Ok(seen) => {
                return seen.exit_code.map_or_else(
                    || SessionEnd::new(EndCause::Failed, "the command's exit code is not known"),
                    SessionEnd::exited,
                );
            }
            Err(error) => return failed(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_SELDOM);
    }
}

async fn stop(client: Client, container: Arc<str>, exec: Arc<str>) {
    if let Err(error) = client.end_exec(&container, &exec).await {
        tracing::debug!(error = chain(&error), "failed to end a command");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_settings_allow_is_run() {
        let plain = ExecRequest {
            command: vec!["sh".to_owned()],
            env: Vec::new(),
            user: None,
            workdir: None,
            privileged: false,
            tty: false,
            stdin: false,
            detach: false,
        };
        let root = ExecRequest {
            user: Some("root".to_owned()),
            ..plain.clone()
        };
        let privileged = ExecRequest {
            privileged: true,
            ..plain.clone()
        };
        let defaults = ExecOptions::default();
        let all = ExecOptions {
            users: true,
            privileged: true,
            ..defaults
        };
        let none = ExecOptions {
            allow: false,
            ..all
        };
        for (options, request, names) in [
            (defaults, &plain, None),
            (defaults, &root, Some("exec.users")),
            (defaults, &privileged, Some("exec.privileged")),
            (all, &root, None),
            (all, &privileged, None),
            (none, &plain, Some("exec.allow")),
        ] {
            let end = forbidden(&options, request);
            assert_eq!(end.is_some(), names.is_some());
            if let (Some(end), Some(names)) = (end, names) {
                assert_eq!(end.cause, EndCause::Refused);
                assert!(end.detail.contains(names), "{}", end.detail);
            }
        }
    }
}
