//! `dopq`: submits jobs, follows them, and downloads their results.
//!
//! This file parses the command line; [`run`] starts the command, and [`commands`] has them all.

mod args;
mod bundle;
mod client;
mod commands;
mod complete;
mod config;
mod exit;
mod failure;
mod output;
mod run;
mod select;

use std::process::ExitCode;

fn main() -> ExitCode {
    if complete::answered() {
        return ExitCode::SUCCESS;
    }
    match args::parse(std::env::args_os()) {
        Ok(cli) => ExitCode::from(run::run(cli)),
        Err(error) => {
            // Nothing is left to do if this cannot be printed.
            error.print().ok();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
        }
    }
}
