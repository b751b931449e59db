//! What both engines must do alike.

use std::time::Duration;

use dopq_common::resources::ByteSize;
use dopq_common::time::Timestamp;
use dopq_worker::docker::fake::Program;
use dopq_worker::docker::{
    Created, Error, LABEL_ATTEMPT, LABEL_CLUSTER, LABEL_JOB, Signal, Status, Usage,
};
use futures::StreamExt;
use serde_json::json;

use crate::bench::{self, Bench, PATIENCE, joined};

/// Long before any image here was built: the year 2020.
const START: Timestamp = Timestamp::from_millis(1_577_836_800_000);

/// A program that runs until it is ended.
const ON: &str = "echo ready; exec /bin/busybox sleep 600";

fn on() -> Program {
    Program::new().prints("ready\n").runs_on()
}

/// Runs a case on both engines.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod docker {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::bench::Bench::docker().await).await;
            })*
        }
        mod fake {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::bench::Bench::fake()).await;
            })*
        }
    };
}

on_both! {
    an_end_is_told_with_its_code_as_often_as_asked
    a_second_creation_of_the_same_attempt_is_the_first
    a_name_that_is_anothers_is_a_conflict
    a_missing_image_is_told
    what_runs_is_not_started_again_and_what_ended_neither
    what_is_not_there_is_told
    signals_end_it_with_their_codes
    a_stop_asks_and_then_kills
    a_trapped_stop_gives_the_programs_own_code
    freezing_holds_it_and_only_once
    a_frozen_one_can_be_killed_and_stopped
    what_runs_is_removed_by_force_only
    listing_is_by_labels_and_in_order
    a_command_that_cannot_run_is_the_users_fault
    the_memory_limit_kills_and_is_told
    output_is_the_same_each_time_and_follows_to_the_end
    output_can_be_followed_while_it_is_printed
    a_follower_waits_for_the_start_and_hears_of_a_removal
    a_terminal_gives_its_bytes_as_they_are
    a_running_container_uses_something
    images_are_found_listed_and_removed
}

async fn an_end_is_told_with_its_code_as_often_as_asked(bench: Bench) {
    bench
        .script("exit 0", Program::new())
        .script("exit 3", Program::new().exits(3));
    for (job, code) in [(1, 0), (2, 3)] {
        let id = bench.run(&bench.plan(job, &format!("exit {code}"))).await;
        for _ in 0..2 {
            assert_eq!(bench.code(&id).await, code);
        }
        let seen = bench
            .engine
            .inspect(&id)
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(seen.status, Status::Exited);
        assert_eq!(seen.exit_code, Some(code));
        assert!(!seen.oom_killed);
        assert_eq!(seen.pid, None);
        assert!(seen.started_at.expect("started") <= seen.finished_at.expect("finished"));
        assert_eq!(seen.labels[LABEL_JOB], job.to_string());
    }
}

async fn a_second_creation_of_the_same_attempt_is_the_first(bench: Bench) {
    let plan = bench.plan(1, "exit 0");
    let Created { id, existed } = bench.engine.create(&plan).await.expect("created");
    assert!(!existed);
    let seen = bench
        .engine
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((seen.status, seen.exit_code), (Status::Created, None));
    assert_eq!((seen.started_at, seen.finished_at), (None, None));
    assert_eq!(seen.name, plan.name);
    let again = bench.engine.create(&plan).await.expect("found");
    assert_eq!(
        again,
        Created {
            id: id.clone(),
            existed: true
        }
    );
    bench.engine.start(&id).await.expect("started");
    bench.code(&id).await;
    let again = bench.engine.create(&plan).await.expect("found");
    assert!(again.existed);
}

async fn a_name_that_is_anothers_is_a_conflict(bench: Bench) {
    let plan = bench.plan(1, "exit 0");
    bench.engine.create(&plan).await.expect("created");
    let mut other = plan.clone();
    other
        .labels
        .insert(LABEL_ATTEMPT.to_owned(), format!("9.9-{}", "07".repeat(16)));
    let error = bench.engine.create(&other).await.expect_err("taken");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
}

async fn a_missing_image_is_told(bench: Bench) {
    let mut plan = bench.plan(1, "exit 0");
    plan.image = "dopq/nobody:none".to_owned();
    let error = bench.engine.create(&plan).await.expect_err("no image");
    assert!(matches!(error, Error::ImageMissing { .. }), "{error:?}");
    assert_eq!(
        bench.engine.find_image(&plan.image).await.expect("asked"),
        None
    );
}

async fn what_runs_is_not_started_again_and_what_ended_neither(bench: Bench) {
    const SHELL: &str = "echo once; read line";
    bench.script(SHELL, Program::new().prints("once\n").runs_on());
    let plan = bench.plan_with(1, SHELL, json!({"stdin_open": true}));
    let id = bench.run(&plan).await;
    bench.printed(&id, "once").await;
    bench.engine.start(&id).await.expect("it runs already");
    bench
        .engine
        .kill(&id, &Signal::kill())
        .await
        .expect("killed");
    assert_eq!(bench.code(&id).await, 137);
    let error = bench.engine.start(&id).await.expect_err("it has ended");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(joined(&bench.output(&id, true).await, None), b"once\n");
}

async fn what_is_not_there_is_told(bench: Bench) {
    const GONE: &str = "dopq-no-such-container";
    let engine = &bench.engine;
    assert_eq!(engine.inspect(GONE).await.expect("asked"), None);
    engine.remove(GONE, true).await.expect("gone already");
    engine
        .remove_image("dopq/nobody:none")
        .await
        .expect("gone already");
    let errors = [
        engine.start(GONE).await.expect_err("start"),
        engine.wait(GONE).await.expect_err("wait"),
        engine.kill(GONE, &Signal::kill()).await.expect_err("kill"),
        engine.pause(GONE).await.expect_err("pause"),
        engine.unpause(GONE).await.expect_err("unpause"),
        engine.stats(GONE).await.expect_err("stats"),
        engine
            .logs(GONE, false, true)
            .next()
            .await
            .expect("said")
            .expect_err("logs"),
    ];
    for error in errors {
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    }
}

async fn signals_end_it_with_their_codes(bench: Bench) {
    bench.script(ON, on());
    for (job, signal, code) in [(1, Signal::kill(), 137), (2, Signal::term(), 143)] {
        let id = bench.run(&bench.plan(job, ON)).await;
        bench.printed(&id, "ready").await;
        bench.engine.kill(&id, &signal).await.expect("sent");
        assert_eq!(bench.code(&id).await, code);
        let seen = bench
            .engine
            .inspect(&id)
            .await
            .expect("asked")
            .expect("there");
        assert!(!seen.oom_killed, "nobody's memory ran out");
        let error = bench
            .engine
            .kill(&id, &signal)
            .await
            .expect_err("it has ended");
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
}

async fn a_stop_asks_and_then_kills(bench: Bench) {
    const DEAF: &str = "trap '' TERM; echo ready; while true; do /bin/busybox sleep 1; done";
    bench.script(DEAF, on().ignores_stop());
    let id = bench.run(&bench.plan(1, DEAF)).await;
    bench.printed(&id, "ready").await;
    bench.engine.kill(&id, &Signal::term()).await.expect("sent");
    let seen = bench
        .engine
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(seen.status, Status::Running);
    let kill = async || bench.engine.kill(&id, &Signal::kill()).await;
    kill().await.expect("killed");
    assert_eq!(bench.code(&id).await, 137);
    let error = kill().await.expect_err("it has ended");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
}

async fn a_trapped_stop_gives_the_programs_own_code(bench: Bench) {
    const TRAP: &str =
        "trap 'exit 85' TERM; echo ready; while true; do /bin/busybox sleep 0.1; done";
    bench.script(TRAP, on().exits_when_stopped(85));
    let id = bench.run(&bench.plan(1, TRAP)).await;
    bench.printed(&id, "ready").await;
    bench.engine.kill(&id, &Signal::term()).await.expect("sent");
    assert_eq!(bench.code(&id).await, 85);
}

async fn freezing_holds_it_and_only_once(bench: Bench) {
    bench.script(ON, on());
    let id = bench.run(&bench.plan(1, ON)).await;
    let status = async || {
        bench
            .engine
            .inspect(&id)
            .await
            .expect("asked")
            .expect("there")
            .status
    };
    let error = bench.engine.unpause(&id).await.expect_err("not frozen");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    bench.engine.pause(&id).await.expect("frozen");
    assert_eq!(status().await, Status::Paused);
    let error = bench.engine.pause(&id).await.expect_err("frozen already");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    bench.engine.start(&id).await.expect("it runs, frozen");
    bench.engine.unpause(&id).await.expect("thawed");
    assert_eq!(status().await, Status::Running);
    bench
        .engine
        .kill(&id, &Signal::kill())
        .await
        .expect("killed");
    bench.code(&id).await;
    for error in [
        bench.engine.pause(&id).await.expect_err("ended"),
        bench.engine.unpause(&id).await.expect_err("ended"),
    ] {
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
}

async fn a_frozen_one_can_be_killed_and_stopped(bench: Bench) {
    bench.script(ON, on());
    let killed = bench.run(&bench.plan(1, ON)).await;
    let stopped = bench.run(&bench.plan(2, ON)).await;
    for id in [&killed, &stopped] {
        bench.printed(id, "ready").await;
        bench.engine.pause(id).await.expect("frozen");
    }
    bench
        .engine
        .kill(&killed, &Signal::kill())
        .await
        .expect("killed");
    assert_eq!(bench.code(&killed).await, 137);
    bench.engine.unpause(&stopped).await.expect("thawed");
    bench
        .engine
        .kill(&stopped, &Signal::term())
        .await
        .expect("sent");
    assert_eq!(bench.code(&stopped).await, 143);
}

async fn what_runs_is_removed_by_force_only(bench: Bench) {
    bench.script(ON, on());
    let id = bench.run(&bench.plan(1, ON)).await;
    let error = bench.engine.remove(&id, false).await.expect_err("it runs");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    let (waited, removed) = tokio::join!(bench.code(&id), async {
        bench.printed(&id, "ready").await;
        bench.engine.remove(&id, true).await
    });
    removed.expect("removed");
    assert_eq!(waited, 137);
    assert_eq!(bench.engine.inspect(&id).await.expect("asked"), None);
}

async fn listing_is_by_labels_and_in_order(bench: Bench) {
    for job in [3, 1, 2] {
        bench
            .engine
            .create(&bench.plan(job, "exit 0"))
            .await
            .expect("created");
    }
    let cluster = (LABEL_CLUSTER, bench.cluster.as_str());
    let names = async |labels: &[(&str, &str)]| -> Vec<String> {
        let found = bench.engine.list(labels).await.expect("listed");
        found.into_iter().map(|container| container.name).collect()
    };
    let all: Vec<String> = [1, 2, 3].map(|job| bench.plan(job, "").name).into();
    assert_eq!(names(&[cluster]).await, all);
    assert_eq!(names(&[cluster, (LABEL_JOB, "2")]).await, all[1..2]);
    assert_eq!(
        names(&[cluster, (LABEL_JOB, "9")]).await,
        Vec::<String>::new()
    );
}

async fn a_command_that_cannot_run_is_the_users_fault(bench: Bench) {
    bench.script("/bin/absent", Program::new().unrunnable(127));
    let mut plan = bench.plan(1, "");
    plan.user.command = Some(vec!["/bin/absent".to_owned()]);
    // With a small init the init would be what runs, and find out later.
    plan.user.init = false;
    let id = bench.engine.create(&plan).await.expect("created").id;
    let error = bench.engine.start(&id).await.expect_err("no such program");
    assert!(
        matches!(error, Error::Command { exit_code: 127, .. }),
        "{error:?}"
    );
    let seen = bench
        .engine
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((seen.status, seen.started_at), (Status::Created, None));
    assert_ne!(seen.error, "");
}

async fn the_memory_limit_kills_and_is_told(bench: Bench) {
    // The engine watches a container's memory from a moment after its start.
    const GREEDY: &str = "/bin/busybox sleep 1; exec /bin/busybox tail /dev/zero";
    bench.script(GREEDY, Program::new().out_of_memory());
    let id = bench.run(&bench.plan(1, GREEDY)).await;
    assert_eq!(bench.code(&id).await, 137);
    let seen = bench
        .engine
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there");
    // The exit tells it, unless the engine heard of the end first; then it hears of this soon after.
    let start = tokio::time::Instant::now();
    while !seen.oom_killed
        && !bench
            .engine
            .oom_noted(&id, bench::now())
            .await
            .expect("asked")
    {
        assert!(
            start.elapsed() < PATIENCE,
            "nobody says that memory ran out"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn output_is_the_same_each_time_and_follows_to_the_end(bench: Bench) {
    const SHELL: &str = "echo one; echo two >&2; echo; printf three";
    let program = Program::new()
        .prints("one\n")
        .complains("two\n")
        .prints("\nthree");
    bench.script(SHELL, program);
    let id = bench.run(&bench.plan(1, SHELL)).await;
    let followed = bench.output(&id, true).await;
    bench.code(&id).await;
    assert_eq!(joined(&followed, Some(false)), b"one\n\nthree");
    assert_eq!(joined(&followed, Some(true)), b"two\n");
    assert_eq!(bench.output(&id, false).await, followed);
    assert_eq!(bench.output(&id, true).await, followed);
    let started = bench
        .engine
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there")
        .started_at;
    // The engine notes the start only after it, so the first line may seem to come before.
    let started = started.expect("started");
    assert!(followed[0].at.after(PATIENCE) > started && started.after(PATIENCE) > followed[0].at);
}

async fn output_can_be_followed_while_it_is_printed(bench: Bench) {
    const SHELL: &str = "echo first; read line; echo never";
    let program = Program::new().prints("first\n").runs_on();
    bench.script(SHELL, program);
    let id = bench
        .run(&bench.plan_with(1, SHELL, json!({"stdin_open": true})))
        .await;
    let mut pieces = bench.engine.logs(&id, false, true);
    let first = pieces.next().await.expect("a piece").expect("readable");
    assert_eq!(&first.bytes[..], b"first\n");
    bench
        .engine
        .kill(&id, &Signal::kill())
        .await
        .expect("killed");
    let rest = tokio::time::timeout(PATIENCE, pieces.next())
        .await
        .expect("ends");
    assert!(rest.is_none(), "{rest:?}");
}

async fn a_follower_waits_for_the_start_and_hears_of_a_removal(bench: Bench) {
    bench.script(ON, on());
    let id = bench
        .engine
        .create(&bench.plan(1, ON))
        .await
        .expect("created")
        .id;
    let mut pieces = bench.engine.logs(&id, false, true);
    let (first, ()) = tokio::join!(pieces.next(), async {
        bench.engine.start(&id).await.expect("started");
    });
    assert_eq!(
        &first.expect("a piece").expect("readable").bytes[..],
        b"ready\n"
    );
    bench.engine.remove(&id, true).await.expect("removed");
    let rest = tokio::time::timeout(PATIENCE, pieces.next())
        .await
        .expect("ends");
    let error = rest.expect("a last item").expect_err("it is gone");
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(pieces.next().await.is_none());
}

async fn a_terminal_gives_its_bytes_as_they_are(bench: Bench) {
    // The first byte is one that a reader of frames would take for a header.
    const SHELL: &str = "printf '\\001\\002\\003'; echo x";
    bench.script(SHELL, Program::new().prints(&b"\x01\x02\x03x\r\n"[..]));
    let id = bench
        .run(&bench.plan_with(1, SHELL, json!({"tty": true})))
        .await;
    bench.code(&id).await;
    let pieces = bench.engine.logs(&id, true, true);
    let pieces: Vec<_> = pieces.map(|piece| piece.expect("readable")).collect().await;
    assert_eq!(joined(&pieces, Some(false)), b"\x01\x02\x03x\r\n");
}

async fn a_running_container_uses_something(bench: Bench) {
    const BUSY: &str = "echo ready; while true; do true; done";
    let usage = Usage {
        cpu_cores: 0.5,
        memory_bytes: 1 << 20,
        pids: 1,
        ..Usage::default()
    };
    bench.script(BUSY, on().uses(usage));
    let id = bench.run(&bench.plan(1, BUSY)).await;
    bench.printed(&id, "ready").await;
    let used = bench.engine.stats(&id).await.expect("told");
    assert!(used.cpu_cores > 0.0, "{used:?}");
    assert!(
        used.memory_bytes > 0 && used.memory_bytes <= 64 << 20,
        "{used:?}"
    );
    assert!(used.pids >= 1, "{used:?}");
    bench
        .engine
        .kill(&id, &Signal::kill())
        .await
        .expect("killed");
    bench.code(&id).await;
    let ended = bench.engine.stats(&id).await.expect("told");
    assert_eq!(ended.pids, 0);
}

async fn images_are_found_listed_and_removed(bench: Bench) {
    let request =
        bench.request(&bench.zip(&[("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")]));
    let id = bench.build(&request).await.expect("built");
    let found = bench
        .engine
        .find_image(&request.tag)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(found.id, id);
    assert_eq!(found.tags, vec![request.tag.clone()]);
    assert_eq!(found.labels, request.labels);
    assert!(found.size_bytes > 0);
    let by_id = bench
        .engine
        .find_image(&id)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(by_id.id, id);
    let labels = [(LABEL_CLUSTER, bench.cluster.as_str())];
    let listed = bench.engine.list_images(&labels).await.expect("listed");
    assert!(listed.iter().any(|image| image.id == id), "{listed:?}");
    let all = bench.engine.list_images(&[]).await.expect("listed");
    assert!(all.iter().any(|image| image.id == id), "{all:?}");
    let mut plan = bench.plan(1, "exit 0");
    plan.image = id.clone();
    let container = bench.engine.create(&plan).await.expect("created").id;
    let error = bench.engine.remove_image(&id).await.expect_err("in use");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    bench
        .engine
        .remove(&container, true)
        .await
        .expect("removed");
    // By its id it goes with its name, as retention removes it.
    assert!(listed.iter().all(|image| image.created_at > START));
    bench.engine.remove_image(&id).await.expect("removed");
    assert_eq!(bench.engine.find_image(&id).await.expect("asked"), None);
    let keep = ByteSize(20 << 30);
    let freed = bench.engine.prune_builds(keep).await.expect("pruned");
    assert_eq!(freed, 0, "the cache is smaller");
}
