//! Who in a container hears that it is to end.

use std::collections::BTreeMap;

use dopq_worker::docker::{Error, Plan, Signal};
use serde_json::json;

use crate::bench::{Bench, joined};

/// A program that saves its state when it is asked to end, for longer than a shell would live, and has a child that
/// must not hear of it.
const PROGRAM: &str = "#!/bin/sh\n\
    trap 'kill -0 $child && /bin/busybox sleep 1 && echo saved; exit 85' TERM\n\
    /bin/busybox sleep 600 &\n\
    child=$!\n\
    echo ready\n\
    wait\n\
    echo child died\n";

/// A script that starts the program as its child.
const SCRIPT: &str = "#!/bin/sh\n/program\ncode=$?\necho after\nexit $code\n";

async fn with_shell() -> Bench {
    let mut bench = Bench::docker().await;
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n\
        COPY program script /\n";
    let bundle = bench.zip(&[
        ("Dockerfile", dockerfile.as_bytes()),
        ("busybox", &busybox),
        ("program", PROGRAM.as_bytes()),
        ("script", SCRIPT.as_bytes()),
    ]);
    let request = bench.request(&bundle);
    bench.image = bench.build(&request).await.expect("built");
    bench
}

fn plan(bench: &Bench, job: u64, command: &[&str], init: bool) -> Plan {
    let mut plan = bench.plan_with(job, "", json!({"init": init}));
    plan.user.command = Some(command.iter().map(|part| (*part).to_owned()).collect());
    plan
}

#[tokio::test]
async fn every_form_of_command_lets_the_program_save_its_state() {
    let bench = with_shell().await;
    let forms: [&[&str]; 5] = [
        &["/program"],
        &["/bin/sh", "-c", "/program"],
        &["/bin/sh", "-c", "/program; exit $?"],
        &["/bin/sh", "-c", "/bin/sh -c '/program; exit $?'; exit $?"],
        &["/script"],
    ];
    let mut job = 0;
    for form in forms {
        for init in [true, false] {
            job += 1;
            let id = bench.run(&plan(&bench, job, form, init)).await;
            bench.printed(&id, "ready").await;
            let asked = bench.engine.ask_to_end(&id, &Signal::term()).await;
            asked.expect("asked");
            assert_eq!(bench.code(&id).await, 85, "{form:?} init: {init}");
            let pieces = bench.output(&id, false).await;
            let text = String::from_utf8_lossy(&joined(&pieces, None)).into_owned();
            assert!(text.contains("saved"), "{form:?} init: {init}: {text}");
            let again = bench.engine.ask_to_end(&id, &Signal::term()).await;
            assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        }
    }
}

#[tokio::test]
async fn a_program_without_a_shell_in_its_image_hears_of_it_too() {
    let bench = Bench::docker().await;
    let shell = "trap 'exit 85' TERM; echo ready; /bin/busybox sleep 600 & wait";
    let id = bench.run(&bench.plan(1, shell)).await;
    bench.printed(&id, "ready").await;
    let asked = bench.engine.ask_to_end(&id, &Signal::term()).await;
    asked.expect("asked");
    assert_eq!(bench.code(&id).await, 85);
}

#[tokio::test]
async fn a_user_inside_and_another_signal_are_kept() {
    let bench = with_shell().await;
    let mut plan = plan(&bench, 1, &["/bin/sh", "-c", ""], true);
    let program = "trap 'exit 85' USR1; echo ready; while :; do /bin/busybox sleep 1; done";
    plan.user.command = Some(
        ["/bin/sh", "-c", "/bin/sh -c \"$PROGRAM\"; exit $?"]
            .map(str::to_owned)
            .to_vec(),
    );
    let mut env: BTreeMap<_, _> = plan.env.drain(..).collect();
    env.insert("PROGRAM".to_owned(), program.into());
    plan.env = env.into_iter().collect();
    plan.user.user = Some("1234:1234".to_owned());
    let id = bench.run(&plan).await;
    bench.printed(&id, "ready").await;
    let signal = Signal::named("SIGUSR1");
    bench.engine.ask_to_end(&id, &signal).await.expect("asked");
    assert_eq!(bench.code(&id).await, 85);
}
