//! Runs the chosen command and turns its result into an exit code.

use crate::args::{Cli, Command};
use crate::commands::{
    Context, change, check, completions, contexts, explain, fetch, groups, init, login, logs,
    node_keys, nodes, prune, ps, queue, retry, show, sim, status, submit, usage, users, wait,
};
use crate::exit;
use crate::failure::Failure;

/// Runs a command and returns its exit code.
pub(crate) fn run(cli: Cli) -> u8 {
    let context = Context::new(cli.global.output, cli.global.master());
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

async fn perform(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Submit(arguments) => submit::run(context, *arguments).await,
        Command::Init(arguments) => init::run(context, &arguments).await,
        Command::Check(arguments) => check::run(context, &arguments).await,
        Command::Ps(arguments) => ps::run(context, arguments).await,
        Command::Queue => queue::run(context).await,
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
        Command::Status => status::run(context).await,
        Command::Nodes => nodes::run(context).await,
        Command::Cordon(arguments) => nodes::cordon(context, &arguments).await,
        Command::Uncordon(arguments) => nodes::uncordon(context, &arguments).await,
        Command::Lock(arguments) => queue::lock(context, arguments).await,
        Command::Unlock => queue::unlock(context).await,
        Command::Prune(arguments) => prune::run(context, &arguments).await,
        Command::Users => users::list(context).await,
        Command::Usage(arguments) => usage::run(context, &arguments).await,
        Command::User(command) => users::run(context, command).await,
        Command::Group(command) => groups::run(context, command).await,
        Command::Node(command) => node_keys::run(context, command).await,
        Command::Sim(command) => sim::run(context, &command).await,
        Command::Login(arguments) => login::run(context, arguments).await,
        Command::Whoami => login::whoami(context).await,
        Command::Context(command) => contexts::run(context, command),
        Command::Completions(arguments) => completions::run(context, &arguments),
    }
}
