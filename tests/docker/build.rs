//! Builds through the real engine.

use std::time::Duration;

use dopq_common::resources::{ByteSize, MilliCpu};
use dopq_worker::docker::{BuildError, BuildRequest, LABEL_CLUSTER};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, PATIENCE, joined};

/// A request whose Dockerfile goes on from the bench's image.
fn from_bench(bench: &Bench, instructions: &str, files: &[(&str, &[u8])]) -> BuildRequest {
    let dockerfile = format!(
        "FROM {}\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n{instructions}",
        bench.image
    );
    let own = [("Dockerfile", dockerfile.as_bytes())];
    bench.request(&bench.zip(&[&own[..], files].concat()))
}

/// Whether containers of the bench's image are left, running or not.
fn leftovers(bench: &Bench) -> String {
    let ancestor = format!("ancestor={}", bench.image);
    let listed = std::process::Command::new("docker")
        .args(["ps", "--all", "--quiet", "--filter", &ancestor])
        .output()
        .expect("docker runs");
    String::from_utf8(listed.stdout).expect("text")
}

/// Waits until the engine has cleaned up after a build.
async fn cleaned(bench: &Bench) {
    let clean = async {
        while !leftovers(bench).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, clean)
        .await
        .expect("containers of the build are removed");
}

#[tokio::test]
async fn a_failing_step_is_named_and_its_output_is_told() {
    let bench = Bench::docker().await;
    let request = from_bench(&bench, "RUN echo trying; exit 7\n", &[]);
    let (built, output) = bench.build_and_listen(&request).await;
    match built.expect_err("the step fails") {
        BuildError::Failed { step, detail } => {
            assert_eq!(step.as_deref(), Some("step 3/5: RUN echo trying; exit 7"));
            assert_eq!(detail, "step 3/5: RUN echo trying; exit 7: exit code 7");
        }
        other => panic!("{other:?}"),
    }
    assert!(output.contains("\ntrying\n"), "{output}");
    assert!(output.contains("returned a non-zero code: 7\n"), "{output}");
    cleaned(&bench).await;
    assert_eq!(
        bench.engine.find_image(&request.tag).await.expect("asked"),
        None
    );
}

#[tokio::test]
async fn a_dockerfile_that_is_none_and_a_file_that_is_absent_are_the_users_faults() {
    let bench = Bench::docker().await;
    for (instructions, words) in [
        ("NONSENSE x\n", "unknown instruction"),
        ("COPY absent /\n", "COPY"),
        ("RUN [\"/bin/absent\"]\n", "no such file"),
        ("USER nobody-here\nRUN true\n", "nobody-here"),
    ] {
        let request = from_bench(&bench, instructions, &[]);
        match bench.build(&request).await.expect_err(instructions) {
            BuildError::Failed { detail, .. } => assert!(detail.contains(words), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    let request = bench.request(&bench.zip(&[("x", b"")]));
    let error = bench.build(&request).await.expect_err("no Dockerfile");
    assert!(matches!(error, BuildError::Failed { .. }), "{error:?}");
}

#[tokio::test]
async fn what_dockerignore_names_is_left_out_and_modes_are_kept() {
    let bench = Bench::docker().await;
    let ignore = b"# notes\n*.log\n**/cache\n!keep.log\nDockerfile\n";
    let deep = format!("{}/{}/file", "d".repeat(90), "e".repeat(90));
    let request = from_bench(
        &bench,
        "COPY . /context/\n",
        &[
            (".dockerignore", ignore),
            ("a.log", b""),
            ("keep.log", b""),
            ("sub/b.log", b""),
            ("sub/cache/c", b""),
            ("run.sh", b"#!/bin/busybox sh\necho ran\n"),
            ("\u{e4} b", b"8"),
            (&deep, b""),
        ],
    );
    let (built, output) = bench.build_and_listen(&request).await;
    let mut plan = bench.plan(
        1,
        "cd /context; /bin/busybox find . -type f | /bin/busybox sort; ./run.sh",
    );
    plan.image = built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
    let id = bench.run(&plan).await;
    let printed = bench.output(&id, true).await;
    let expected = format!(
        "./.dockerignore\n./container_config.json\n./{deep}\n./keep.log\n./run.sh\n./sub/b.log\n./\u{e4} b\nran\n"
    );
    assert_eq!(String::from_utf8_lossy(&joined(&printed, None)), expected);
}

#[tokio::test]
async fn a_bad_dockerignore_is_the_users_fault() {
    let bench = Bench::docker().await;
    let request = from_bench(&bench, "", &[(".dockerignore", b"[")]);
    match bench.build(&request).await.expect_err("bad pattern") {
        BuildError::Failed { detail, .. } => {
            assert_eq!(
                detail,
                ".dockerignore line 1: \"[\": a bracket is not closed"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn steps_run_within_the_limits() {
    const LOOK: &str = "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max \
        2>/dev/null; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; \
        ls /sys/class/net\n";
    let bench = Bench::docker().await;
    // More than bollard's own field can say.
    let memory = 3 * ByteSize::GIB;
    let look = LOOK
        .replace("cat ", "/bin/busybox cat ")
        .replace("ls ", "/bin/busybox ls ");
    let mut request = from_bench(&bench, &look, &[]);
    request.limits.memory = ByteSize(memory);
    request.limits.cpu = MilliCpu(1500);
    let (built, output) = bench.build_and_listen(&request).await;
    built.expect("built");
    assert!(output.contains(&format!("\n{memory}\n")), "{output}");
    assert!(output.contains("\n150000"), "{output}");
    assert!(
        output.contains("\nlo\n") && !output.contains("eth0"),
        "{output}"
    );
}

#[tokio::test]
async fn steps_run_on_the_named_network() {
    let bench = Bench::docker().await;
    let network = format!("dopq-{}", bench.cluster);
    let made = bench.engine.ensure_network(&network, &bench.cluster).await;
    made.expect("there");
    let mut request = from_bench(&bench, "RUN /bin/busybox ls /sys/class/net\n", &[]);
    request.limits.network = network;
    let (built, output) = bench.build_and_listen(&request).await;
    built.expect("built");
    assert!(output.contains("eth0\n"), "{output}");
}

#[tokio::test]
async fn a_build_that_is_called_off_or_too_slow_leaves_nothing_running() {
    let bench = Bench::docker().await;
    let mut request = from_bench(&bench, "RUN echo ready; exec /bin/busybox sleep 600\n", &[]);

    let (output, mut lines) = mpsc::channel::<bytes::Bytes>(1);
    let cancel = CancellationToken::new();
    let calling_off = async {
        while let Some(line) = lines.recv().await {
            if &line[..] == b"ready\n" {
                cancel.cancel();
            }
        }
    };
    let building = bench.engine.build(&request, output, cancel.clone());
    let (built, ()) = tokio::join!(building, calling_off);
    let error = built.expect_err("called off");
    assert!(matches!(error, BuildError::Cancelled), "{error:?}");
    cleaned(&bench).await;

    let brief = Duration::from_secs(2);
    request.limits.silent = brief;
    let error = bench.build(&request).await.expect_err("silent");
    assert!(
        matches!(error, BuildError::Silent { after } if after == brief),
        "{error:?}"
    );
    cleaned(&bench).await;

    (request.limits.silent, request.limits.total) = (PATIENCE, brief);
    let error = bench.build(&request).await.expect_err("slow");
    assert!(
        matches!(error, BuildError::Deadline { after } if after == brief),
        "{error:?}"
    );
    cleaned(&bench).await;
}

#[tokio::test]
async fn layers_are_cached_for_their_user_only() {
    const CACHED: &str = "Using cache";
    let bench = Bench::docker().await;
    let first = from_bench(&bench, "RUN echo made > /made\n", &[]);
    let (built, output) = bench.build_and_listen(&first).await;
    built.expect("built");
    assert!(!output.contains(CACHED), "{output}");

    let (built, output) = bench.build_and_listen(&first).await;
    built.expect("built again");
    assert!(
        output.contains(CACHED),
        "one's own layers are used: {output}"
    );

    let eve = "eve".parse().expect("a name");
    let hers = bench.request_of(&eve, &first.bundle);
    let (built, output) = bench.build_and_listen(&hers).await;
    built.expect("built for another");
    assert!(
        !output.contains(CACHED),
        "another's layers are not: {output}"
    );
}

#[tokio::test]
async fn what_a_failed_build_made_serves_its_users_next_one() {
    const DONE: &str = "RUN echo slow > /slow\n";
    let bench = Bench::docker().await;
    for _ in 0..2 {
        let request = from_bench(&bench, &format!("{DONE}RUN exit 1\n"), &[]);
        bench.build(&request).await.expect_err("it fails");
    }
    let labels = [(LABEL_CLUSTER, bench.cluster.as_str())];
    let images = bench.engine.list_images(&labels).await.expect("listed");
    let tags: Vec<String> = images.into_iter().flat_map(|image| image.tags).collect();
    let partial = tags.iter().filter(|tag| tag.ends_with(":partial")).count();
    assert_eq!(
        (tags.len(), partial),
        (2, 1),
        "the bench's own and one partial: {tags:?}"
    );

    let request = from_bench(&bench, &format!("{DONE}RUN exit 0\n"), &[]);
    let (built, output) = bench.build_and_listen(&request).await;
    built.expect("mended");
    let slow = output
        .split("echo slow > /slow\n")
        .nth(1)
        .expect("the step");
    assert!(slow.starts_with(" ---> Using cache\n"), "{output}");
}

#[tokio::test]
async fn an_image_that_is_too_large_is_removed() {
    let bench = Bench::docker().await;
    let mut request = from_bench(&bench, "RUN echo x > /x\n", &[]);
    request.limits.image = ByteSize(1024);
    match bench.build(&request).await.expect_err("too large") {
        BuildError::Failed { detail, .. } => {
            assert!(detail.contains("the maximum is 1 KiB"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        bench.engine.find_image(&request.tag).await.expect("asked"),
        None
    );
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_is_not_the_engines_fault() {
    let bench = Bench::docker().await;
    let request = bench.request(std::path::Path::new("/no/such/bundle.zip"));
    let error = bench.build(&request).await.expect_err("no bundle");
    assert!(matches!(error, BuildError::Bundle(_)), "{error:?}");
    let error = bench
        .engine
        .load(&request, mpsc::channel(1).0, CancellationToken::new())
        .await
        .expect_err("no bundle");
    assert!(matches!(error, BuildError::Bundle(_)), "{error:?}");
}
