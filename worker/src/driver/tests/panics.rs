//! A task that panics does not leave its attempt behind.

use std::time::Duration;

use super::rig::Rig;
use crate::Error;
use crate::docker::fake::{Fault, Program};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_ends_its_attempt_with_a_cause() {
    let mut rig = Rig::started().await;
    let failing = |code| Program::new().prints("a\n").exits(code);
    let table = [
        ("1.1", "find image", failing(0), "engine_error"),
        ("2.1", "build", failing(0), "engine_error"),
        ("3.1", "create", failing(0), "engine_error"),
        // It is asked whether the engine killed the container.
        ("4.1", "probe", failing(137), "engine_error"),
    ];
    for (attempt, call, program, cause) in table {
        let name = format!("dopq-{}-070707070707", attempt.replace('.', "-"));
        rig.fake.script(&name, program);
        rig.fake.fail_next(call, Fault::Panic);
        rig.run(attempt, "").await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), cause, "{call}: {end:?}");
        let said = format!("the worker failed: a fault in {call}");
        assert_eq!(end.outcome.detail, said);
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_whose_log_is_not_stored_is_none() {
    let mut rig = Rig::started().await;
    for (attempt, code, cause) in [("1.1", 0, "engine_error"), ("2.1", 3, "user_error")] {
        let name = format!("dopq-{}-070707070707", attempt.replace('.', "-"));
        rig.fake.script(&name, Program::new().exits(code));
        // Of the task that follows the output, and of the one that reads the rest.
        rig.fake.fail_next("logs", Fault::Panic);
        rig.fake.fail_next("logs", Fault::Panic);
        rig.run(attempt, "").await;
        let outcome = rig.finished(attempt).await.outcome;
        assert_eq!(outcome.cause.as_str(), cause);
        assert_eq!(outcome.exit_code, Some(code));
        let said = "; the worker failed: a fault in logs";
        assert!(outcome.detail.ends_with(said), "{outcome:?}");
        let removed = |call: &String| call.starts_with("remove ");
        while !rig.fake.calls().iter().any(removed) {
            tokio::task::yield_now().await;
        }
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_on_when_the_tasks_that_watch_it_panic() {
    let mut rig = Rig::started().await;
    let program = Program::new().prints("a\n");
    let program = program.sleeps(Duration::from_millis(100));
    rig.fake.script("dopq-1-1-070707070707", program);
    rig.fake.fail_next("wait", Fault::Panic);
    rig.fake.fail_next("logs", Fault::Panic);
    rig.run("1.1", "").await;
    // The periodic look notices its end.
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
    assert_eq!(rig.stdout("1.1"), "a\n");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_panics_is_looked_up() {
    let mut rig = Rig::started().await;
    rig.fake.fail_next("start", Fault::Panic);
    rig.run("1.1", "").await;
    rig.until("building").await;
    rig.stop("1.1", 10).await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "cancelled", "{end:?}");
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 0);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_which_a_part_panics_starts_again() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    // The periodic look asks for it.
    rig.fake.fail_next("list", Fault::Panic);
    let error = rig.failed().await;
    assert!(matches!(error, Error::Panicked(_)), "{error}");
    rig.start().await;
    rig.fake.end("dopq-1-1-070707070707", 0);
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    rig.end().await;
}
