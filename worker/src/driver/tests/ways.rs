//! Ways that lead to an end by itself, over restarts, faults and floods.

use std::time::Duration;

use dopq_common::id::Digest;
use dopq_common::resources::ByteSize;
use dopq_common::wire::log::Source;
use dopq_common::wire::{Order, Report};

use super::rig::Rig;
use crate::docker::fake::{Build, Fault, Program};

fn digest() -> Digest {
    Digest(*blake3::hash(super::rig::BUNDLE).as_bytes())
}

/// Many short lines with a pause in between, so that there is a middle.
fn counting(lines: u32) -> Program {
    let half = |from: u32, to: u32| {
        (from..to)
            .map(|n| format!("line {n}\n"))
            .collect::<String>()
    };
    Program::new()
        .prints(half(0, lines / 2))
        .sleeps(Duration::from_millis(400))
        .prints(half(lines / 2, lines))
}

fn counted(lines: u32) -> String {
    (0..lines).map(|n| format!("line {n}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_a_lost_jobs_number_runs_and_gets_its_own_log() {
    let mut rig = Rig::started().await;
    let (lost, new) = (format!("1.1-{}", "08".repeat(16)), "1.1");
    let script = |rig: &Rig, name, printed| {
        let program = Program::new().prints(printed);
        rig.fake.script(name, program);
    };
    script(&rig, "dopq-1-1-080808080808", "a secret\n");
    rig.run(&lost, "").await;
    assert_eq!(
        rig.finished(&lost).await.outcome.cause.as_str(),
        "succeeded"
    );
    script(&rig, "dopq-1-1-070707070707", "my own\n");
    for _ in 0..2 {
        rig.run(new, "").await;
        assert_eq!(rig.finished(new).await.outcome.cause.as_str(), "succeeded");
    }
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 1);
    assert_eq!(rig.stdout(new), "my own\n");
    assert_eq!(rig.stdout(&lost), "a secret\n");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_built_run_and_reported_with_its_log() {
    let mut rig = Rig::started().await;
    rig.fake
        .script_build(digest(), Build::new().prints("Step 1/1 : FROM scratch"));
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().prints("hello\n").exits(3),
    );
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.before, ["accepted", "building", "running", "uploading"]);
    assert_eq!(end.outcome.cause.as_str(), "user_error");
    assert_eq!(end.outcome.exit_code, Some(3));
    assert_eq!(rig.stdout("1.1"), "hello\n");
    let built = rig.plane.printed("1.1", Source::Build);
    assert_eq!(built, b"Step 1/1 : FROM scratch\n");
    let stream = rig.plane.stream("1.1");
    assert_eq!(u64::try_from(stream.len()).expect("length"), end.log_bytes);
    assert!(rig.plane.results("1.1").is_none(), "nothing was written");

    rig.order("1.1", Order::Forget).await;
    // The next job finds bundle and image; by its end the first one's container is long gone.
    rig.run("2.1", "").await;
    assert_eq!(
        rig.finished("2.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    assert_eq!(rig.plane.served(), 1);
    let builds = rig.fake.calls();
    let builds = builds.iter().filter(|call| call.starts_with("build"));
    assert_eq!(builds.count(), 1);
    rig.end().await;
    assert!(matches!(rig.report().await, Report::Goodbye));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_comes_once_and_in_order() {
    let mut rig = Rig::started().await;
    let mut bytes: Vec<u8> = (0..100_000_u32)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    bytes.extend(0..=255_u8);
    let program = Program::new().prints(bytes.clone()).complains("oh\n");
    rig.fake.script("dopq-1-1-070707070707", program);
    rig.run("1.1", "").await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    // The engine ends the last line where the program did not.
    let printed = rig.plane.printed("1.1", Source::Stdout);
    assert_eq!(printed.strip_suffix(b"\n").unwrap_or(&printed), bytes);
    assert_eq!(rig.plane.printed("1.1", Source::Stderr), b"oh\n");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_run_adopts_its_container() {
    let mut rig = Rig::started().await;
    rig.fake.script("dopq-1-1-070707070707", counting(2000));
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.kill().await;
    rig.start().await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
    assert_eq!(rig.stdout("1.1"), counted(2000));
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_away_at_the_end_catches_up() {
    let mut rig = Rig::started().await;
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().prints("a\n").runs_on(),
    );
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.kill().await;
    rig.fake.end("dopq-1-1-070707070707", 5);
    rig.start().await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.exit_code, Some(5));
    assert_eq!(rig.stdout("1.1"), "a\n");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_builds_builds_again() {
    let mut rig = Rig::started().await;
    rig.fake
        .script_build(digest(), Build::new().takes(Duration::from_millis(500)));
    rig.run("1.1", "").await;
    rig.until("building").await;
    rig.kill().await;
    rig.start().await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_worker_leaves_its_containers_running() {
    let mut rig = Rig::started().await;
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().prints("a\n").runs_on(),
    );
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.end().await;
    while !matches!(rig.report().await, Report::Goodbye) {}
    rig.start().await;
    // The hello tells of the attempt.
    loop {
        if let Report::Hello(hello) = rig.report().await {
            assert_eq!(hello.attempts.len(), 1);
            assert_eq!(hello.capacity.gpus.len(), 2);
            assert_eq!(hello.gpu_mode, "simulated");
            assert_eq!((&*hello.egress, &*hello.build_egress), ("open", "default"));
            break;
        }
    }
    rig.fake.end("dopq-1-1-070707070707", 0);
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_the_attempt_is_lost_and_never_run_again() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.kill().await;
    rig.fake.end("dopq-1-1-070707070707", 255);
    rig.reboot();
    rig.start().await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "worker_lost"
    );
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_answer_is_lost_is_looked_up() {
    for fault in [Fault::LostAfter, Fault::LostBefore] {
        let mut rig = Rig::started().await;
        rig.fake.fail_next("start", fault);
        rig.run("1.1", "").await;
        if fault == Fault::LostAfter {
            let end = rig.finished("1.1").await;
            assert_eq!(end.outcome.cause.as_str(), "succeeded");
        } else {
            // It never started. Told to stop, it ends at the next look, without ever being started.
            rig.until("building").await;
            rig.stop("1.1", 10).await;
            assert_eq!(
                rig.finished("1.1").await.outcome.cause.as_str(),
                "cancelled"
            );
        }
        assert!(rig.fake.starts("dopq-1-1-070707070707") <= 1);
        rig.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_and_fetches_are_tried_again() {
    let mut rig = Rig::started().await;
    rig.plane.fail(2);
    rig.fake.fail_next("create", Fault::LostAfter);
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
    assert_eq!(rig.fake.starts("dopq-1-1-070707070707"), 1);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_no_master_has_ends_the_attempt_and_blames_nobodys_job() {
    let mut rig = Rig::started().await;
    rig.plane.lose_bundle();
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    // It is infrastructure's cause, so the job is tried again without a charge.
    assert_eq!(end.outcome.cause.as_str(), "engine_error", "{end:?}");
    let detail = &end.outcome.detail;
    assert!(detail.contains("not in the bundle store"), "{detail}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_bundle_is_never_built() {
    let mut rig = Rig::started().await;
    rig.plane
        .offer(b"something else entirely here 123", &rig.proof());
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "engine_error");
    assert!(end.outcome.detail.contains("digest"), "{end:?}");
    assert!(
        !rig.fake
            .calls()
            .iter()
            .any(|call| call.starts_with("build"))
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_is_told_and_shared_by_those_who_waited() {
    let mut rig = Rig::started().await;
    let build = Build::new()
        .prints("Step 2/3 : RUN make")
        .takes(Duration::from_millis(300))
        .fails("step 2/3: RUN make", "exit code 2");
    rig.fake.script_build(digest(), build);
    for attempt in ["1.1", "2.1", "3.1"] {
        rig.run(attempt, "").await;
    }
    let causes = rig.all_finished(&["1.1", "2.1", "3.1"]).await;
    assert_eq!(causes, ["build_failed"; 3]);
    let calls = rig.fake.calls();
    assert_eq!(calls.iter().filter(|c| c.starts_with("build")).count(), 1);
    let told = rig.plane.printed("1.1", Source::Dopq);
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("step 2/3: RUN make"), "{told}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_once_with_a_mark() {
    let mut rig = Rig::new().await;
    rig.limits.log = ByteSize(100_000);
    rig.start().await;
    let flood = Program::new().prints(vec![b'x'; 3_000_000]).prints("\n");
    rig.fake.script("dopq-1-1-070707070707", flood);
    rig.run("1.1", "").await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    assert!(end.log_bytes < 101_000, "{}", end.log_bytes);
    let marks = rig.plane.printed("1.1", Source::Dopq);
    let marks = String::from_utf8_lossy(&marks);
    assert_eq!(marks.matches("the log is cut here").count(), 1, "{marks}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_have_true_causes() {
    let mut rig = Rig::started().await;
    let table = [
        (
            "1.1",
            "dopq-1-1-070707070707",
            Program::new().out_of_memory(),
            "oom_host",
        ),
        (
            "2.1",
            "dopq-2-1-070707070707",
            Program::new().unrunnable(127),
            "user_error",
        ),
        (
            "3.1",
            "dopq-3-1-070707070707",
            Program::new().exits(137),
            "user_error",
        ),
        (
            "4.1",
            "dopq-4-1-070707070707",
            Program::new().exits(0),
            "succeeded",
        ),
        (
            "5.1",
            "dopq-5-1-070707070707",
            Program::new().out_of_memory_noted_late(),
            "oom_host",
        ),
        (
            "6.1",
            "dopq-6-1-070707070707",
            Program::new().refused(
                "unable to find user no space left on device: no matching entries in passwd file",
            ),
            "bundle_invalid",
        ),
    ];
    for (attempt, name, program, cause) in table {
        rig.fake.script(name, program);
        rig.run(attempt, "").await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), cause, "{attempt} {end:?}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stops_is_to_blame_for_what_it_killed() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.fake.stop_engine(false);
    // The worker hears of the end, and finds nobody to ask about it.
    let calls = rig.fake.calls().len();
    while !rig.fake.calls()[calls..]
        .iter()
        .any(|c| c.starts_with("inspect"))
    {
        tokio::task::yield_now().await;
    }
    rig.fake.start_engine();
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "engine_error"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_restarts_under_a_living_container_changes_nothing() {
    let mut rig = Rig::started().await;
    rig.fake.script("dopq-1-1-070707070707", counting(1000));
    rig.run("1.1", "").await;
    rig.until("running").await;
    rig.fake.stop_engine(true);
    rig.fake.start_engine();
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "succeeded");
    assert_eq!(rig.stdout("1.1"), counted(1000));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_end_may_be_lost_is_marked() {
    const MARK: &str = "the end of the output may be missing";
    let mut rig = Rig::started().await;
    // The container ends while the engine is away, or after it is back.
    for (attempt, name, ends_meanwhile) in [
        ("1.1", "dopq-1-1-070707070707", true),
        ("2.1", "dopq-2-1-070707070707", false),
    ] {
        let fake = rig.fake.clone();
        fake.script(name, Program::new().prints("a\n").runs_on());
        // Whoever follows the output asks for it, and asks again while the engine is away.
        let asked_since = async |call: usize| {
            while !fake.calls()[call..].iter().any(|c| c.starts_with("logs")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let before = fake.calls().len();
        rig.run(attempt, "").await;
        asked_since(before).await;
        fake.stop_engine(true);
        asked_since(fake.calls().len()).await;
        if ends_meanwhile {
            fake.end(name, 3);
        }
        fake.start_engine();
        asked_since(fake.calls().len()).await;
        fake.end(name, 3);
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.exit_code, Some(3), "{end:?}");
        assert_eq!(rig.stdout(attempt), "a\n");
        let told = rig.plane.printed(attempt, Source::Dopq);
        let told = String::from_utf8_lossy(&told);
        let marks = told.matches(MARK).count();
        assert_eq!(marks, usize::from(ends_meanwhile), "{told}");
    }
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_published_as_one_tar() {
    let mut rig = Rig::started().await;
    rig.fake
        .script("dopq-1-1-070707070707", Program::new().runs_on());
    rig.run("1.1", "").await;
    rig.until("running").await;
    let folder = rig.dir.path().join("data/out/anna/1-070707070707/1");
    std::fs::write(folder.join("model"), b"weights").expect("written");
    rig.fake.end("dopq-1-1-070707070707", 0);
    rig.finished("1.1").await;
    let tar = rig.plane.results("1.1").expect("results");
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().expect("entries");
    let entry = entries.next().expect("one").expect("sound");
    assert_eq!(entry.path().expect("path").to_str(), Some("model"));
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_out_of_gpu_memory_is_told_so() {
    let mut rig = Rig::started().await;
    let line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB";
    let program = || {
        let traceback = format!("Traceback (most recent call last):\n{line}\n");
        Program::new().complains(traceback).exits(1)
    };
    rig.fake.script("dopq-1-1-070707070707", program());
    rig.run("1.1", "").await;
    let outcome = rig.finished("1.1").await.outcome;
    assert_eq!(outcome.cause.as_str(), "oom_gpu");
    assert_eq!(outcome.exit_code, Some(1));
    assert_eq!(
        outcome.detail,
        format!("exited with code 1 after it printed: {line}")
    );
    // A program that went on from there has succeeded.
    rig.fake.script("dopq-2-1-070707070707", program().exits(0));
    rig.run("2.1", "").await;
    assert_eq!(
        rig.finished("2.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    rig.end().await;
}
