//! Runs the chosen command and turns its result into an exit code.

use crate::args::{self, Cli, Command};
use crate::commands::{
    Context, audit, change, check, completions, contexts, control, doctor, drain, exec, explain,
    fetch, forward, gpus, groups, history, init, login, logs, man, node_keys, nodes, prune, ps,
    queue, retry, show, sim, status, submit, usage, users, wait,
};
use crate::exit;
use crate::failure::Failure;
use crate::output::{Format, Output};

/// Runs a command and returns its exit code.
pub(crate) fn run(cli: Cli) -> u8 {
    let mut output = Output::of_process(cli.global.output);
    if cli.global.no_pager {
        output = output.without_pager();
    }
    let context = Context::new(output, cli.global.master());
    // One connection needs no more than this thread; files are read on blocking threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(Box::pin(perform(cli.command, &context)));
            // A read that still blocks must not keep the process alive.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Failure::Start(error)),
    };
    match result {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => exit::DONE,
        Err(failure) => {
            failure.report(&context.output);
            failure.exit_code()
        }
    }
}

/// Prints what is wrong with a command line, or the help that it asks for, and returns the exit code.
pub(crate) fn refuse(error: &clap::Error, is_json: bool) -> u8 {
    if is_json && error.use_stderr() {
        // What follows is the usage, which is for people.
        let text = error.to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or(&text);
        let text = text.trim().trim_start_matches("error: ").to_owned();
        let failure = Failure::Usage(text);
        failure.report(&Output::of_process(Format::Json));
        return failure.exit_code();
    }
    // Nothing is left to do if this cannot be printed.
    error.print().ok();
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

async fn perform(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Submit(arguments) => submit::run(context, *arguments).await,
        Command::Init(arguments) => init::run(context, &arguments).await,
        Command::Check(arguments) => check::run(context, &arguments).await,
        Command::Ps(arguments) => ps::run(context, arguments).await,
        Command::Queue(arguments) => queue::run(context, &arguments).await,
        Command::Show(arguments) => show::run(context, &arguments).await,
        Command::Explain(arguments) => explain::run(context, &arguments).await,
        Command::Priority(arguments) => change::prioritise(context, &arguments).await,
        Command::Logs(arguments) => logs::run(context, &arguments).await,
        Command::Wait(arguments) => wait::run(context, &arguments).await,
        Command::Retry(arguments) => retry::run(context, &arguments).await,
        Command::Cancel(arguments) => change::run(context, arguments, change::Verb::Cancel).await,
        Command::Hold(arguments) => change::run(context, arguments, change::Verb::Hold).await,
        Command::Release(arguments) => change::run(context, arguments, change::Verb::Release).await,
        Command::Fetch(arguments) => fetch::run(context, &arguments).await,
        Command::Exec(arguments) => exec::run(context, &arguments).await,
        Command::Doctor => doctor::run(context).await,
        Command::Forward(arguments) => forward::run(context, &arguments).await,
        Command::History(arguments) => history::run(context, arguments).await,
        Command::Status => status::run(context).await,
        Command::Nodes(arguments) => nodes::run(context, &arguments).await,
        Command::Gpus => gpus::run(context).await,
        Command::Cordon(arguments) => nodes::cordon(context, &arguments).await,
        Command::Uncordon(arguments) => nodes::uncordon(context, &arguments).await,
        Command::Drain(arguments) => drain::drain(context, &arguments).await,
        Command::Evict(arguments) => drain::evict(context, arguments).await,
        Command::Reload => control::reload(context).await,
        Command::Shutdown(arguments) => control::shutdown(context, &arguments).await,
        Command::Lock(arguments) => queue::lock(context, arguments).await,
        Command::Unlock => queue::unlock(context).await,
        Command::Prune(arguments) => prune::run(context, &arguments).await,
        Command::Users => users::list(context).await,
        Command::Usage(arguments) => usage::run(context, &arguments).await,
        Command::User(command) => users::run(context, command).await,
        Command::Group(command) => groups::run(context, command).await,
        Command::Node(command) => node_keys::run(context, command).await,
        Command::Audit(arguments) => audit::run(context, &arguments).await,
        Command::Sim(command) => sim::run(context, &command).await,
        Command::Login(arguments) => login::run(context, arguments).await,
        Command::Logout => login::logout(context).await,
        Command::Whoami => login::whoami(context).await,
        Command::Context(command) => contexts::run(context, command),
        Command::Completions(arguments) => completions::run(context, &arguments),
        Command::Man(arguments) => man::run(context, &arguments, args::command()),
    }
}
