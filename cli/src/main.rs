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
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    if complete::answered() {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    ExitCode::from(match args::parse(&arguments) {
        Ok(cli) => run::run(cli),
        Err(error) => run::refuse(&error, args::wants_json(&arguments)),
    })
}
