//! Completion of command lines: what the shell asks for while a person types.
//!
//! The shell's script calls the program with `DOPQ_COMPLETE` set and the line so far as arguments. clap's engine
//! completes commands and options; here are the values that only the master or the user's file knows. A completion is
//! quick and silent: whatever fails gives no candidates.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command};
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};
use dopq_common::api::{Job, Role};

use crate::args;
use crate::client::{Client, JobFilter};
use crate::commands::completions::VARIABLE;
use crate::commands::ps::ACTIVE;
use crate::config::{Environment, Flags, Source, resolve, user_file};
use crate::output::text::clean;
use crate::output::{Format, Output};

/// A person waits for the prompt.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The most jobs that are offered.
const JOBS_MAX: usize = 50;

/// Answers the shell if it asked. Returns whether it did.
pub(crate) fn answered() -> bool {
    let arguments = std::env::args_os();
    let folder = std::env::current_dir().ok();
    // An error has no place to be shown: the person is typing.
    CompleteEnv::with_factory(|| with_values(args::command()))
        .var(VARIABLE)
        .try_complete(arguments, folder.as_deref())
        .unwrap_or(true)
}

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Jobs in these states; in any state if there are none.
    Jobs(&'static [&'static str]),
    Nodes,
    Users,
    Groups,
    Contexts,
    States,
}

/// Adds the completion of values to every argument that has some, by what its name says.
fn with_values(command: Command) -> Command {
    let states = states_for(command.get_name());
    command
        .mut_args(|argument| match kind(&argument, states) {
            Some(kind) => argument.add(ArgValueCompleter::new(move |current: &OsStr| {
                candidates(kind, current)
            })),
            None => argument,
        })
        .mut_subcommands(with_values)
}

fn kind(argument: &Arg, states: &'static [&'static str]) -> Option<Kind> {
    let name = argument.get_value_names()?.first()?.as_str();
    match name {
        _ if name == "JOB" || name.starts_with("JOB,") => Some(Kind::Jobs(states)),
        "NODE" => Some(Kind::Nodes),
        "USER" => Some(Kind::Users),
        "GROUP" => Some(Kind::Groups),
        "CONTEXT" => Some(Kind::Contexts),
        "STATE" => Some(Kind::States),
        _ => None,
    }
}

/// The states in which a command can do something with a job.
fn states_for(command: &str) -> &'static [&'static str] {
    match command {
        "cancel" | "wait" | "explain" => &ACTIVE,
        "hold" | "release" | "priority" => &["queued"],
        "retry" | "fetch" => &["finished"],
        _ => &[],
    }
}

/// What may follow, with what is known of each. Of a list such as `3,5` the last part is completed.
fn candidates(kind: Kind, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(text) = current.to_str() else {
        return Vec::new();
    };
    let (before, part) = match text.rfind(',') {
        Some(comma) => text.split_at(comma + 1),
        None => ("", text),
    };
    let found = values(kind).into_iter();
    found
        // A shell runs what is on its line: a name that a shell would read as more than a word is not offered.
        .filter(|(value, _)| value.starts_with(part) && is_word(value))
        .enumerate()
        .map(|(order, (value, help))| {
            CompletionCandidate::new(format!("{before}{value}"))
                .help(help.map(|text| clean(&text).into()))
                .display_order(Some(order))
        })
        .collect()
}

fn is_word(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
}

type Values = Vec<(String, Option<String>)>;

fn values(kind: Kind) -> Values {
    let flags = flags(std::env::args_os());
    let environment = Environment::of_process();
    match kind {
        Kind::States => {
            let finished = std::iter::once("finished");
            let states = ACTIVE.into_iter().chain(finished);
            states.map(|state| (state.to_owned(), None)).collect()
        }
        Kind::Contexts => {
            let Ok(file) = user_file(&environment) else {
                return Vec::new();
            };
            let contexts = file.contexts().iter();
            contexts
                .map(|(name, master)| (name.clone(), Some(master.url.to_string())))
                .collect()
        }
        Kind::Jobs(_) | Kind::Nodes | Kind::Users | Kind::Groups => {
            let Some(client) = client(&flags, &environment) else {
                return Vec::new();
            };
            ask(from_master(kind, &client)).unwrap_or_default()
        }
    }
}

/// A client that says nothing. Without a token there is nothing to ask.
fn client(flags: &Flags, environment: &Environment) -> Option<Client> {
    let settings = resolve(flags, environment).ok()?;
    settings.token.as_ref()?;
    // Who opens a stranger's folder does not mean to call anybody with each key.
    let origin = settings.url.origin().ascii_serialization();
    if matches!(settings.source, Source::Project(_)) && !settings.tokens.contains_key(&origin) {
        return None;
    }
    Client::new(&settings, Output::of_process(Format::Quiet)).ok()
}

fn ask<T>(question: impl Future<Output = Option<T>>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, question).await.ok()? });
    runtime.shutdown_background();
    answer
}

async fn from_master(kind: Kind, client: &Client) -> Option<Values> {
    match kind {
        Kind::Jobs(states) => jobs(client, states).await,
        Kind::Nodes => {
            let nodes = client.nodes().await.ok()?.nodes;
            let nodes = nodes.into_iter();
            Some(nodes.map(|node| (node.name, Some(node.state))).collect())
        }
        // A user sees no list of users, but knows one.
        Kind::Users => match client.users().await {
            Ok(list) => Some(list.users.into_iter().map(|u| (u.name, None)).collect()),
            Err(_) => Some(vec![(client.whoami().await.ok()?.name, None)]),
        },
        Kind::Groups => {
            let groups = client.groups().await.ok()?.groups;
            Some(groups.into_iter().map(|group| (group.name, None)).collect())
        }
        Kind::Contexts | Kind::States => None,
    }
}

/// One's own jobs, newest first; all jobs for those who manage them.
async fn jobs(client: &Client, states: &[&str]) -> Option<Values> {
    let me = client.whoami().await.ok()?;
    let filter = JobFilter {
        states: states.iter().map(|&state| state.to_owned()).collect(),
        user: (me.role == Role::User).then_some(me.name),
        ..JobFilter::default()
    };
    let page = client.jobs(&filter, JOBS_MAX).await.ok()?;
    let describe = |job: &Job| format!("{}, {}, {}", job.name, job.state, job.user);
    let mut values: Values = page
        .jobs
        .iter()
        .map(|job| (job.id.to_string(), Some(describe(job))))
        .collect();
    if !values.is_empty() {
        values.push(("last".to_owned(), Some("your newest job".to_owned())));
    }
    Some(values)
}

/// The options about the master in the line so far, which the engine does not hand on.
fn flags(arguments: impl Iterator<Item = OsString>) -> Flags {
    let mut words = arguments
        .skip_while(|word| word != "--")
        .skip(1)
        .filter_map(|word| word.into_string().ok());
    let mut flags = Flags::default();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        match name.as_str() {
            "--url" => flags.url = value.or_else(|| words.next()),
            "--context" => flags.context = value.or_else(|| words.next()),
            "--token-file" => {
                flags.token_file = value.or_else(|| words.next()).map(PathBuf::from);
            }
            "--" => break,
            _ => {}
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_node_user_and_context_is_completed() {
        fn count(command: &Command, found: &mut Vec<String>) {
            for argument in command.get_arguments() {
                let completed = argument.get::<ArgValueCompleter>().is_some();
                let names = argument.get_value_names().unwrap_or_default();
                if completed {
                    found.push(format!("{} {}", command.get_name(), names[0]));
                }
            }
            for sub in command.get_subcommands() {
                count(sub, found);
            }
        }
        let mut found = Vec::new();
        count(&with_values(args::command()), &mut found);
        for expected in [
            "logs JOB",
            "cancel JOB",
            "cancel STATE",
            "submit JOB,JOB:any",
            "cordon NODE",
            "ps USER",
            "limit USER",
            "limit GROUP",
            "use CONTEXT",
            "dopq CONTEXT",
        ] {
            assert!(
                found.iter().any(|it| it == expected),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn the_line_so_far_says_which_master() {
        let line = "dopq -- dopq --context=lab logs --url http://x --token-file t -- --url no";
        let flags = flags(line.split(' ').map(OsString::from));
        assert_eq!(flags.context.as_deref(), Some("lab"));
        assert_eq!(flags.url.as_deref(), Some("http://x"));
        assert_eq!(flags.token_file, Some(PathBuf::from("t")));
    }

    #[test]
    fn only_words_are_offered() {
        for (value, expected) in [
            ("gpu-1", true),
            ("anna.b@lab", true),
            ("$(reboot)", false),
            ("a b", false),
            ("a;b", false),
            ("-rf", false),
            ("", false),
        ] {
            assert_eq!(is_word(value), expected, "{value}");
        }
    }

    #[test]
    fn of_a_list_the_last_part_is_completed() {
        let offered = candidates(Kind::States, OsStr::new("queued,pau"));
        let values: Vec<_> = offered.iter().map(|it| it.get_value()).collect();
        assert_eq!(values, ["queued,paused"]);
    }
}
