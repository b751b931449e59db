//! The program: reads arguments and configuration, sets up logs, runs the master until it is asked to
//! stop, and turns the result into an exit code.

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{Error, run};
use crate::config::{self, Args, LogFormat};
use dopq_common::chain::chain;

/// The program's exit codes. Wrong usage, which is 2, is told by the argument parser.
pub mod exit {
    /// Stopped as asked.
    pub const DONE: u8 = 0;
    /// Anything that has no code of its own.
    pub const FAILED: u8 = 1;
    /// It cannot listen, or cannot reach what it needs to start.
    pub const UNREACHABLE: u8 = 5;
    /// Another process uses the data folder.
    pub const CONFLICT: u8 = 6;
    /// The configuration has mistakes; all of them were told.
    pub const CONFIGURATION: u8 = 64;
}

/// The program `dopq-master`.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let (config, printed) = match config::read(&args, std::env::vars()) {
        Ok(read) => read,
        Err(mistakes) => return complain(exit::CONFIGURATION, &mistakes.to_string()),
    };
    if args.print_config {
        return match io::stdout().write_all(printed.as_bytes()) {
            Ok(()) => ExitCode::from(exit::DONE),
            Err(error) => complain(exit::FAILED, &format!("cannot print: {error}")),
        };
    }
    if let Err(message) = set_up_logs(&args) {
        return complain(exit::CONFIGURATION, &message);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(exit::FAILED, &format!("cannot start: {error}")),
    };
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let insisted = CancellationToken::new();
        tokio::spawn(watch_signals(shutdown.clone(), insisted.clone()));
        tokio::select! {
            result = Box::pin(run(args, config, shutdown)) => result,
            () = insisted.cancelled() => Ok(()),
        }
    });
    // What still blocks a thread, such as a file being judged, must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => complain(code_of(&error), &chain(&error)),
    }
}

fn code_of(error: &Error) -> u8 {
    match error {
        Error::InUse { .. } => exit::CONFLICT,
        Error::Listen { .. } => exit::UNREACHABLE,
        Error::Tls(_) | Error::Broker(_) | Error::Management(_) | Error::Worker(_) => {
            exit::CONFIGURATION
        }
        Error::DataDir { .. } | Error::Store(_) | Error::Bundles(_) | Error::FirstStart(_) => {
            exit::FAILED
        }
    }
}

fn complain(code: u8, message: &str) -> ExitCode {
    // When standard error is gone there is nobody to tell.
    drop(writeln!(io::stderr(), "dopq-master: {message}"));
    ExitCode::from(code)
}

fn set_up_logs(args: &Args) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| format!("--log {:?} is not understood: {error}", args.log))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let set = match args.log_format {
        LogFormat::Human => logs.with_ansi(has_colours()).with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| format!("cannot set up logs: {error}"))
}

/// Whether the log may have colours: only on a terminal whose user has not declined them.
fn has_colours() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !declined
}

/// The first signal asks for an orderly end, the second for an end at once.
async fn watch_signals(shutdown: CancellationToken, insisted: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::warn!("cannot handle signals; only SIGKILL stops the process");
        return;
    };
    for token in [shutdown, insisted] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if !token.is_cancelled() {
            tracing::info!("stopping on a signal");
        }
        token.cancel();
    }
}
