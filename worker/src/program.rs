//! The program `dopq-worker`: settings, signals, exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use dopq_common::broker::{Broker, amqp};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Args, Config, LogFormat, read};

/// The configuration has mistakes.
pub const EXIT_CONFIG: u8 = 64;
/// The worker could not start or go on.
pub const EXIT_FAILED: u8 = 1;

/// How long threads may take to end once the worker has.
const ENDING: Duration = Duration::from_secs(3);

/// Runs the program to its exit code: 0 after it was told to end, [`EXIT_CONFIG`], [`EXIT_FAILED`].
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        // What is not UTF-8 is none of ours.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    });
    let config = match read(&args, variables) {
        Ok(config) => config,
        Err(mistakes) => return fail(EXIT_CONFIG, &mistakes.to_string()),
    };
    if args.print_config {
        return match std::io::stdout().write_all(config.printed.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(EXIT_FAILED, &error.to_string()),
        };
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILED, &format!("failed to start: {error}")),
    };
    // The broker's links are kept by tasks of the runtime from the moment it is opened.
    let entered = runtime.enter();
    let broker = match amqp::Broker::open(config.broker.clone()) {
        Ok(broker) => broker,
        Err(error) => return fail(EXIT_CONFIG, &error.to_string()),
    };
    start_log(&config);
    for hint in &config.hints {
        tracing::warn!(hint, "settings");
    }
    drop(entered);
    let served = runtime.block_on(Box::pin(serve(config, Broker::Amqp(broker))));
    end(runtime);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &format!("failed to {error:#}")),
    }
}

/// Ends all tasks. A thread that waits for a file server or removes a large folder holds up nothing: what it does not do
/// is done at the next start.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(ENDING);
}

fn fail(code: u8, message: &str) -> ExitCode {
    // A standard error that is gone leaves nobody to tell.
    writeln!(std::io::stderr(), "dopq-worker: {message}").unwrap_or_default();
    ExitCode::from(code)
}

fn start_log(config: &Config) {
    let filter = EnvFilter::new(&config.log_level);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(has_colours()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Whether the log may have colours: only on a terminal whose user has not declined them.
fn has_colours() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !declined
}

async fn serve(config: Config, broker: Broker) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate()).context("listen to signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listen to signals")?;
    let told = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("stopping on a signal; containers keep running");
        told.cancel();
    });
    let ran = Box::pin(crate::run(config.options, broker.clone(), shutdown)).await;
    broker.close().await;
    ran.map_err(anyhow::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_for_a_disk_keeps_no_worker_from_ending() {
        let (answer, waits) = std::sync::mpsc::sync_channel::<()>(1);
        let runtime = Runtime::new().expect("a runtime");
        drop(runtime.spawn_blocking(move || waits.recv().unwrap_or_default()));
        let (told, ended) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            end(runtime);
            told.send(()).unwrap_or_default();
        });
        ended.recv_timeout(2 * ENDING).expect("it ended");
        drop(answer);
    }
}
