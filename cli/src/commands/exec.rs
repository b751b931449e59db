//! `dopq exec`: runs a command in a running job's container.

use clap::Args;
use dopq_common::api::ExecRequest;

use super::context::Context;
use super::session::{self, Ended, Ways};
use crate::exit;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::select::{Selection, Whose, resolve};
use crate::terminal;

/// Arguments of `dopq exec`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Pass standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal; with -i, this one
    #[arg(long, short)]
    tty: bool,
    /// Return at once and leave the command running
    #[arg(long, short, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    /// Set a variable for the command; without a value, as it is here
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Run in this folder of the container
    #[arg(long, short, value_name = "FOLDER")]
    workdir: Option<String>,
    /// Run as this user of the container, if the worker's settings allow it
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Run with all capabilities; for admins, if the worker's settings allow it
    #[arg(long)]
    privileged: bool,
    /// Job: 1423, last, or a task such as 1423_7
    #[arg(value_name = "JOB")]
    job: Selection,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

/// Runs the command, and exits with its code.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.tty && arguments.interactive && !terminal::is_interactive() {
        let message = "-t with -i needs a terminal as standard input; leave -t out";
        return Err(Failure::Usage(message.to_owned()));
    }
    let env = arguments.env.iter().filter_map(|text| variable(text));
    let request = ExecRequest {
        command: arguments.command.clone(),
        env: env.collect(),
        user: arguments.user.clone(),
        workdir: arguments.workdir.clone(),
        privileged: arguments.privileged,
        tty: arguments.tty,
        stdin: arguments.interactive,
        detach: arguments.detach,
    };
    let client = context.client()?;
    let ids = resolve(&client, std::slice::from_ref(&arguments.job), Whose::Mine).await?;
    let [id] = ids.as_slice() else {
        return Err(Failure::Usage("exec takes one job".to_owned()));
    };
    let socket = client.exec(*id).await;
    let socket = socket.map_err(Failure::call(format!("run a command in job {id}")))?;
    // The type always has a JSON form.
    let first = serde_json::to_string(&request).unwrap_or_default();
    let ways = Ways {
        input: arguments.interactive,
        tty: arguments.tty,
    };
    let ended = session::run(socket, &first, ways).await?;
    Ok(code(context, &ended))
}

/// A variable, with its value here if it has none.
fn variable(text: &str) -> Option<String> {
    if text.contains('=') {
        return Some(text.to_owned());
    }
    let value = std::env::var(text).ok()?;
    Some(format!("{text}={value}"))
}

/// The exit code, after telling what there is to tell.
fn code(context: &Context, ended: &Ended) -> u8 {
    match ended {
        Ended::Exited(code, detail) => {
            if !detail.is_empty() {
                context.output.complain(&clean(detail));
            }
            exit::of_command(*code)
        }
        Ended::Done => exit::DONE,
        Ended::Reason(reason) => {
            context
                .output
                .complain(&format!("the session ended: {}", clean(reason)));
            exit::JOB_NOT_RUN
        }
        Ended::Signal(code) => *code,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        let cli = Cli::try_parse_from(line.split(' '))?;
        match cli.command {
            Command::Exec(arguments) => Ok(*arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_the_job_is_the_command() {
        for line in [
            "dopq exec -it 7 ls -l --all -- x",
            "dopq exec -i -t 7 -- ls -l --all -- x",
        ] {
            let arguments = parsed(line).expect("accepted");
            assert!(arguments.interactive && arguments.tty);
            assert_eq!(
                arguments.command,
                ["ls", "-l", "--all", "--", "x"],
                "{line}"
            );
        }
        for line in [
            "dopq exec 7",
            "dopq exec -d -i 7 ls",
            "dopq exec --detach -t 7 ls",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_variable_without_a_value_is_taken_from_here() {
        assert_eq!(variable("A=b=c").as_deref(), Some("A=b=c"));
        assert_eq!(variable("A=").as_deref(), Some("A="));
        let path = std::env::var("PATH").expect("there is a path");
        assert_eq!(variable("PATH"), Some(format!("PATH={path}")));
        assert_eq!(variable("DOPQ_NO_SUCH_VARIABLE"), None);
    }
}
