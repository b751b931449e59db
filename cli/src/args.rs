//! The command line: global options, the list of commands, and a help text that groups them.
//!
//! Each command's own arguments stand beside its code in [`crate::commands`].

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Command as Clap, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::config::Flags;
use crate::output::Format;

/// The commands by what they are for. A test makes sure that none is missing.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Run",
        &[
            "submit", "check", "wait", "retry", "cancel", "hold", "release", "priority",
        ],
    ),
    (
        "Look",
        &[
            "ps", "queue", "show", "explain", "logs", "fetch", "usage", "status", "nodes",
        ],
    ),
    (
        "Administer",
        &[
            "cordon", "uncordon", "lock", "unlock", "users", "user", "group",
        ],
    ),
    ("Plan", &["sim"]),
    ("Yourself", &["login", "whoami"]),
    ("Shell", &["completions", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  dopq login http://gpu-queue:7070       say where the queue is, and who you are
  dopq submit . --follow                 run this folder and see what it prints
  dopq submit train.zip --gpus 2 --memory 40g --env LR=0.01
  dopq queue                             whose turn it is, and why yours is not yet
  dopq logs -f last                      what your last job prints
  dopq fetch last                        bring home what it left in /outdir
  dopq usage                             what you have been charged, and what is left of it
  dopq cancel 12-17                      stop six of your jobs
  dopq submit . --sweep lr=0.1,0.01 --sweep seed=1..5     ten tasks, one for each combination
  dopq retry last --failed               run again those that failed
  dopq ps --output json | jq .jobs[].id  for programs

Jobs are named by id (1423), range (3-7), list (3,5-7), or `last`, and the tasks of an array by its
id and their index (1423_7, 1423_0-9).

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 unreachable, 6 conflict,
64 bad configuration. `submit --follow` and `wait` give the container's own code (128 and the
signal's number for a signal), 125 where DoPQ ended the job, 124 where `wait --timeout` ran out.

Settings: flags, then DOPQ_URL, DOPQ_TOKEN or DOPQ_TOKEN_FILE and DOPQ_CA_FILE, then .dopq.toml
in the project, then ~/.config/dopq/config.toml (or DOPQ_CLIENT_CONFIG).";

/// A queue for people who share GPU machines.
#[derive(Debug, Parser)]
#[command(
    name = "dopq",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The master's URL
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file that holds your token and nothing else
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The form of what goes to stdout: table, json or quiet
    #[arg(
        long,
        short = 'o',
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORM",
        hide_possible_values = true
    )]
    pub(crate) output: Format,
}

impl Global {
    /// Which master to call, and with which token.
    pub(crate) fn master(&self) -> Flags {
        Flags {
            url: self.url.clone(),
            token_file: self.token_file.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a folder or zip as a job
    Submit(Box<commands::submit::Arguments>),
    /// Tell everything that is wrong with a folder or zip, without a master
    Check(Box<commands::check::Arguments>),
    /// List jobs, the newest first
    Ps(commands::ps::Arguments),
    /// Show whose turn it is, in order, and why each job waits
    Queue,
    /// Show all about a job, with a timeline
    Show(commands::show::Arguments),
    /// Tell why a job waits, and what would start it now
    Explain(commands::explain::Arguments),
    /// Print what a job's build and run printed
    Logs(commands::logs::Arguments),
    /// Wait for jobs to finish
    Wait(commands::wait::Arguments),
    /// Run finished jobs again, or what failed of an array
    Retry(commands::retry::Arguments),
    /// Stop jobs, whether they wait, build or run
    Cancel(commands::change::Arguments),
    /// Keep waiting jobs from starting
    Hold(commands::change::Arguments),
    /// Let held jobs start again
    Release(commands::change::Arguments),
    /// Move a waiting job among your own
    Priority(commands::change::PriorityArguments),
    /// Bring home what a job left in /outdir
    Fetch(commands::fetch::Arguments),
    /// Show how the system is
    Status,
    /// Show the machines and their GPUs
    Nodes,
    /// Start no new jobs on a machine
    Cordon(commands::nodes::CordonArguments),
    /// Start jobs on a machine again
    Uncordon(commands::nodes::UncordonArguments),
    /// Start no new jobs anywhere, for a while
    Lock(commands::queue::LockArguments),
    /// Start jobs again
    Unlock,
    /// List users with their penalties (same as: user list)
    Users,
    /// Show what you have been charged, what is left of it, and how long that lasts
    Usage(commands::usage::Arguments),
    /// Manage users and their tokens
    #[command(subcommand)]
    User(commands::users::UserCommand),
    /// Manage groups of users, which have one share together
    #[command(subcommand)]
    Group(commands::groups::GroupCommand),
    /// Try a policy on a workload, without a master
    #[command(subcommand)]
    Sim(commands::sim::SimCommand),
    /// Say where the master is and who you are
    Login(commands::login::Arguments),
    /// Tell who the master takes you for
    Whoami,
    /// Print a script that completes commands in your shell
    Completions(commands::completions::Arguments),
}

/// Reads the command line; help and usage errors come back as clap's own.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// The whole command line, as completions need it.
pub(crate) fn command() -> Clap {
    let command = Cli::command();
    let overview = overview(&command);
    command
        .disable_help_subcommand(false)
        .help_template(
            "{about}\n\nUsage: {usage}\n\n{before-help}Options of every command:\n{options}{after-help}",
        )
        .before_help(overview)
        .after_help(EXAMPLES)
}

/// The commands under their groups' titles.
fn overview(command: &Clap) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        // Writing to a string does not fail.
        writeln!(text, "{title}:").ok();
        for name in names {
            let about = match command.find_subcommand(name).and_then(Clap::get_about) {
                Some(about) => about.to_string(),
                None => "Explain a command".to_owned(),
            };
            writeln!(text, "  {name:<12} {about}").ok();
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .filter(|name| *name != "help")
            .collect();
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(Clap::get_name).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn every_command_explains_itself() {
        fn look(command: &Clap) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                for argument in sub.get_arguments() {
                    assert!(
                        argument.get_help().is_some(),
                        "{} {}",
                        sub.get_name(),
                        argument.get_id()
                    );
                }
                look(sub);
            }
        }
        look(&Cli::command());
    }

    #[test]
    fn the_overview_reads_well() {
        let mut command = command();
        insta::assert_snapshot!(command.render_help().to_string());
    }
}
