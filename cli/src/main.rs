//! `dopq`: submits jobs, watches them, brings back what they made.
//!
//! This file only reads the command line and hands over; what each command does is in [`commands`].

mod args;
mod bundle;
mod client;
mod commands;
mod config;
mod exit;
mod failure;
mod output;
mod run;
mod select;

use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(cli) => ExitCode::from(run::run(cli)),
        Err(error) => {
            // Where even this cannot be printed there is nobody left to tell.
            error.print().ok();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
        }
    }
}
