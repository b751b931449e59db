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

/// The commands, grouped. A test checks that none is missing.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Run",
        &[
            "init", "submit", "check", "wait", "retry", "cancel", "hold", "release", "priority",
        ],
    ),
    (
        "Inspect",
        &[
            "ps", "queue", "show", "explain", "logs", "exec", "forward", "fetch", "history",
            "usage", "status", "doctor", "nodes", "gpus",
        ],
    ),
    (
        "Administer",
        &[
            "cordon", "uncordon", "drain", "evict", "reload", "shutdown", "lock", "unlock",
            "prune", "users", "user", "group", "node", "audit",
        ],
    ),
    ("Simulate", &["sim"]),
    ("Account", &["login", "logout", "whoami", "context"]),
    ("Shell", &["completions", "man", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  dopq login http://gpu-queue:7070       save the master's URL and your token
  dopq submit . --follow                 submit this folder and print its log
  dopq submit train.zip --gpus 2 --memory 40g --env LR=0.01
  dopq queue                             the queue, and why each job waits
  dopq logs -f last                      follow the log of your last job
  dopq fetch last                        download its results
  dopq usage                             your usage, and when it decays
  dopq cancel 12-17                      cancel six jobs
  dopq submit . --sweep lr=0.1,0.01 --sweep seed=1..5
  dopq retry last --failed               run the failed tasks again
  dopq ps --output json | jq .jobs[].id  JSON for scripts

JOB is an id (1423), a range (3-7), a list (3,5-7) or `last`. A task of an
array is the array's id and the task's index (1423_7, 1423_0-9, last_7).

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed,
5 unreachable, 6 conflict, 64 bad configuration. `submit --follow` and `wait`
exit with the container's code (128 + the signal's number after a signal),
125 if DoPQ ended the job, 124 if `wait --timeout` expired. `exec` exits with
the command's code, 125 if the session ended before the command.

Settings, first found wins: flags; DOPQ_URL or DOPQ_CONTEXT, DOPQ_TOKEN or
DOPQ_TOKEN_FILE, DOPQ_CA_FILE; .dopq.toml in the project;
~/.config/dopq/config.toml (or DOPQ_CLIENT_CONFIG).";

/// A queue for people who share GPU machines.
#[derive(Debug, Parser)]
#[command(
    name = "dopq",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
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
    /// The context that names the master; see: dopq context
    #[arg(long, global = true, value_name = "CONTEXT")]
    context: Option<String>,
    /// A file that contains your token
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Output format: table, json or quiet (ids only)
    #[arg(
        long,
        short = 'o',
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub(crate) output: Format,
    /// Print long output without a pager
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,
}

impl Global {
    /// Which master to call, and with which token.
    pub(crate) fn master(&self) -> Flags {
        Flags {
            url: self.url.clone(),
            context: self.context.clone(),
            token_file: self.token_file.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a folder or zip as a job
    Submit(Box<commands::submit::Arguments>),
    /// Write a Dockerfile and a configuration for a folder
    Init(commands::init::Arguments),
    /// Validate a folder or zip locally
    Check(Box<commands::check::Arguments>),
    /// List jobs, newest first
    #[command(visible_aliases = ["list", "jobs"])]
    Ps(commands::ps::Arguments),
    /// Show the queue in order, and why each job waits
    #[command(visible_alias = "squeue")]
    Queue(commands::queue::Arguments),
    /// Show a job in detail, with its timeline
    Show(commands::show::Arguments),
    /// Explain why a job waits and what would start it now
    Explain(commands::explain::Arguments),
    /// Print a job's log
    #[command(visible_alias = "log")]
    Logs(commands::logs::Arguments),
    /// Wait for jobs to finish
    Wait(commands::wait::Arguments),
    /// Run finished jobs, or the failed tasks of an array, again
    Retry(commands::retry::Arguments),
    /// Cancel queued or running jobs
    #[command(visible_aliases = ["kill", "rm", "stop"])]
    Cancel(commands::change::Arguments),
    /// Hold queued jobs so that they do not start
    Hold(commands::change::Arguments),
    /// Release held jobs
    Release(commands::change::Arguments),
    /// Change a queued job's priority among your own jobs
    Priority(commands::change::PriorityArguments),
    /// Download a job's results
    Fetch(commands::fetch::Arguments),
    /// Run a command in a running job's container
    Exec(Box<commands::exec::Arguments>),
    /// Open ports of a running job's container here
    Forward(commands::forward::Arguments),
    /// List finished jobs, as far back as the archive goes
    History(commands::history::Arguments),
    /// Show the state of the master and what it depends on
    Status,
    /// Check each part from here to the GPUs, and say what to do
    Doctor,
    /// List nodes and their GPUs
    Nodes(commands::nodes::Arguments),
    /// List GPUs: who holds each, and what it does
    Gpus,
    /// Stop starting jobs on a node
    Cordon(commands::nodes::CordonArguments),
    /// Start jobs on a node again; ends a drain
    Uncordon(commands::nodes::UncordonArguments),
    /// Empty a node: start nothing there and let its jobs end
    Drain(commands::drain::DrainArguments),
    /// Take jobs from their node; they are queued again, not charged
    Evict(commands::drain::EvictArguments),
    /// Read the master's settings again, and show what changed
    Reload,
    /// End the master
    Shutdown(commands::control::ShutdownArguments),
    /// Lock the queue: start no jobs for a while
    Lock(commands::queue::LockArguments),
    /// Unlock the queue
    Unlock,
    /// Remove logs and results of your jobs; admins: all that is old
    Prune(commands::prune::PruneArguments),
    /// List users with their penalties (same as: user list)
    Users,
    /// Show your usage, its charges, and when they decay
    Usage(commands::usage::Arguments),
    /// Manage users and their tokens
    #[command(subcommand)]
    User(commands::users::UserCommand),
    /// Manage groups of users that share one weight
    #[command(subcommand)]
    Group(commands::groups::GroupCommand),
    /// Manage the keys of nodes
    #[command(subcommand)]
    Node(commands::node_keys::NodeCommand),
    /// Show who changed or accessed what
    Audit(commands::audit::Arguments),
    /// Simulate a scheduling policy on a workload
    #[command(subcommand)]
    Sim(commands::sim::SimCommand),
    /// Log in with a token or a password; save the master's URL
    Login(commands::login::Arguments),
    /// Revoke the token that is in use and forget it
    Logout,
    /// Show your user name and role
    Whoami,
    /// Manage contexts: names for masters
    #[command(subcommand)]
    Context(commands::contexts::ContextCommand),
    /// Print a shell completion script
    Completions(commands::completions::Arguments),
    /// Print or write manual pages
    Man(commands::man::Arguments),
}

/// Reads the command line; help and usage errors come back as clap's own.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// Whether a command line that cannot be parsed asks for JSON.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    let mut before = "";
    for word in arguments.iter().filter_map(|word| word.to_str()) {
        match word {
            "--" => return false,
            "--output=json" | "-ojson" | "-o=json" => return true,
            "json" if matches!(before, "-o" | "--output") => return true,
            _ => before = word,
        }
    }
    false
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
                None => "Show the help of a command".to_owned(),
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
    fn the_names_of_other_queues_are_understood() {
        for (alias, name) in [
            ("list", "ps"),
            ("jobs", "ps"),
            ("squeue", "queue"),
            ("log", "logs"),
            ("kill", "cancel"),
            ("rm", "cancel"),
            ("stop", "cancel"),
        ] {
            let command = Cli::command();
            let found = command.find_subcommand(alias).map(Clap::get_name);
            assert_eq!(found, Some(name), "{alias}");
        }
    }

    #[test]
    fn a_wrong_line_says_in_which_form_it_wants_the_error() {
        for (line, expected) in [
            ("dopq ps -o json --nonsense", true),
            ("dopq --output=json", true),
            ("dopq -ojson x", true),
            ("dopq ps -o table json", false),
            ("dopq submit . -- -o json", false),
        ] {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert_eq!(wants_json(&words), expected, "{line}");
        }
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

    /// Every command that a text of DoPQ's sources tells a user to run, with `7` for what the user fills in.
    fn hinted(text: &str) -> Vec<Vec<String>> {
        let is_hint = |before: &str| {
            let before = before.trim_end();
            [":", "`", "run", "with", "see"]
                .iter()
                .any(|word| before.ends_with(word))
        };
        let mut found = Vec::new();
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            let mut before = String::new();
            for piece in line.split("dopq ") {
                if line.contains('"') && is_hint(&before) && !before.is_empty() {
                    found.push(words(piece.split('"').next().unwrap_or_default()));
                }
                before += piece;
            }
        }
        found.retain(|words| words.len() > 1);
        found
    }

    /// The words of a command up to where the sentence goes on.
    fn words(text: &str) -> Vec<String> {
        let mut command = command();
        command.build();
        let mut at = Some(&command);
        let mut words = vec!["dopq".to_owned()];
        for word in text.split(' ') {
            let bare = word.trim_end_matches([';', '"', '`', ',', ')', '.', '\\']);
            let sub = at.and_then(|command| command.find_subcommand(bare));
            let placeholder = bare.starts_with('{') || bare.bytes().any(|b| b.is_ascii_uppercase());
            match sub {
                Some(_) => words.push(bare.to_owned()),
                None if bare.starts_with("--") => words.push(bare.to_owned()),
                None if placeholder && words.len() > 1 => words.push("7".to_owned()),
                None if words.len() == 1 && !bare.starts_with('{') => {
                    words.push(bare.to_owned());
                    break;
                }
                None => break,
            }
            at = sub;
            if bare != word {
                break;
            }
        }
        words
    }

    fn sources(folder: &std::path::Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, texts);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_command_in_a_hint_is_understood() {
        use clap::error::ErrorKind::{
            DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument,
        };
        let mut texts = Vec::new();
        for crate_name in ["common", "master", "worker", "cli"] {
            let folder = format!("{}/../{crate_name}/src", env!("CARGO_MANIFEST_DIR"));
            sources(folder.as_ref(), &mut texts);
        }
        let hints: Vec<_> = texts.iter().flat_map(|text| hinted(text)).collect();
        assert!(hints.len() > 30, "{hints:?}");
        for words in hints {
            if let Err(error) = command().try_get_matches_from(&words) {
                let left_to_fill_in = [
                    MissingRequiredArgument,
                    DisplayHelpOnMissingArgumentOrSubcommand,
                ];
                assert!(
                    left_to_fill_in.contains(&error.kind()),
                    "{words:?}: {error}"
                );
            }
        }
        assert!(hinted(&["hint(\"run: dopq", " sumbit DIR\")"].concat()).len() == 1);
        assert!(command().try_get_matches_from(["dopq", "sumbit"]).is_err());
    }

    #[test]
    fn the_overview_reads_well() {
        let mut command = command();
        insta::assert_snapshot!(command.render_help().to_string());
    }
}
