//! Builds by the real engine's BuildKit.

use std::time::Duration;

use dopq_common::resources::ByteSize;
use dopq_worker::docker::{BuildError, BuildNetwork, BuildRequest, SecretFiles};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, PATIENCE, joined};

/// The Dockerfile's begin: the bench's image, whose only program is busybox.
fn begin(bench: &Bench) -> String {
    format!(
        "FROM {}\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n",
        bench.base
    )
}

/// A request whose Dockerfile goes on from the bench's image.
fn from_bench(bench: &Bench, instructions: &str, files: &[(&str, &[u8])]) -> BuildRequest {
    let dockerfile = format!("{}{instructions}", begin(bench));
    let own = [("Dockerfile", dockerfile.as_bytes())];
    bench.request(&bench.zip(&[&own[..], files].concat()))
}

/// The same request of another user.
fn of_another(bench: &Bench, request: &BuildRequest) -> BuildRequest {
    let eve = format!("eve-{}", bench.cluster).parse().expect("a name");
    let other = bench.request_of(&eve, &request.bundle);
    BuildRequest {
        secrets: request.secrets.clone(),
        ..other
    }
}

/// Builds; gives the log.
async fn built(bench: &Bench, request: &BuildRequest) -> String {
    let (built, output) = bench.build_and_listen(request).await;
    built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
    output
}

/// Builds what must fail by the user's fault; gives the detail.
async fn refused(bench: &Bench, request: &BuildRequest) -> String {
    let (built, output) = bench.build_and_listen(request).await;
    match built {
        Err(BuildError::Failed { detail, .. }) => detail,
        other => panic!("{other:?}: {output}"),
    }
}

/// The log's lines about the step whose name holds `part`.
fn step(output: &str, part: &str) -> String {
    let first = output.lines().find(|line| line.contains(part));
    let first = first.unwrap_or_else(|| panic!("no {part}: {output}"));
    let number = first.split(' ').next().expect("a number");
    let lines = output.lines().filter_map(|line| line.strip_prefix(number));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a process of the machine has this argument.
fn is_running(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes");
    processes.flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0)
            .any(|word| word == argument.as_bytes())
    })
}

/// Waits until the program of a build runs, or no longer runs.
async fn until_running(argument: &str, running: bool) {
    let change = async {
        while is_running(argument) != running {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let change = tokio::time::timeout(PATIENCE, change).await;
    change.unwrap_or_else(|_| panic!("running is not {running}"));
}

#[tokio::test]
async fn a_failing_step_is_named_and_its_output_is_told() {
    let bench = Bench::docker().await;
    let request = from_bench(&bench, "RUN echo trying; exit 7\n", &[]);
    let (built, output) = bench.build_and_listen(&request).await;
    match built.expect_err("the step fails") {
        BuildError::Failed { step, detail } => {
            assert_eq!(step.as_deref(), Some("[2/2] RUN echo trying; exit 7"));
            assert_eq!(detail, "[2/2] RUN echo trying; exit 7: exit code 7");
        }
        other => panic!("{other:?}"),
    }
    let told = step(&output, "[2/2] RUN");
    assert!(told.contains(" trying\n ERROR: "), "{output}");
    assert_eq!(
        bench.engine.find_image(&request.tag).await.expect("asked"),
        None
    );
}

#[tokio::test]
async fn mistakes_in_a_dockerfile_are_the_users_faults() {
    let bench = Bench::docker().await;
    for (instructions, words) in [
        ("NONSENSE x\n", "unknown instruction"),
        ("COPY absent /\n", "COPY absent /"),
        ("RUN [\"/bin/absent\"]\n", "/bin/absent"),
        ("USER nobody-here\nRUN true\n", "nobody-here"),
        ("FROM scratch\nCOPY --from=0 /absent /\n", "/absent"),
        ("FROM Not-A-Name\n", "Not-A-Name"),
        (
            "RUN echo 'x: no space left on device'; exit 1 # : no space left on device\n",
            "exit code 1",
        ),
        (
            "RUN --mount=type=secret,id=x,required=true true\n",
            "secret",
        ),
    ] {
        let request = from_bench(&bench, instructions, &[]);
        let detail = refused(&bench, &request).await;
        assert!(detail.contains(words), "{instructions}: {detail}");
    }
    let request = bench.request(&bench.zip(&[("x", b"")]));
    assert!(refused(&bench, &request).await.contains("Dockerfile"));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_nobodys_fault() {
    let bench = Bench::docker().await;
    let text = b"FROM 127.0.0.1:9/x:1\n";
    let request = bench.request(&bench.zip(&[("Dockerfile", text)]));
    let error = bench.build(&request).await.expect_err("no registry");
    assert!(matches!(error, BuildError::Registry { .. }), "{error:?}");
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
    assert_eq!(
        refused(&bench, &request).await,
        ".dockerignore line 1: \"[\": a bracket is not closed"
    );
}

#[tokio::test]
async fn steps_have_the_network_of_the_setting() {
    let bench = Bench::docker().await;
    let mut request = from_bench(
        &bench,
        "RUN echo net: $(/bin/busybox ls /sys/class/net)\n",
        &[],
    );
    let output = built(&bench, &request).await;
    assert!(output.contains(" net: lo\n"), "{output}");
    request.limits.network = BuildNetwork::Default;
    let output = built(&bench, &request).await;
    assert!(output.contains(" net: eth0 lo\n"), "{output}");
}

#[tokio::test]
async fn a_build_that_is_called_off_or_too_slow_leaves_nothing_running() {
    let bench = Bench::docker().await;
    // Only this test's program sleeps that long.
    let seconds = format!(
        "{}",
        100_000_000
            + u32::from_le_bytes(
                *blake3::hash(bench.cluster.as_bytes())
                    .as_bytes()
                    .first_chunk()
                    .expect("bytes")
            ) / 2
    );
    let slow = format!("RUN echo ready; exec /bin/busybox sleep {seconds}\n");
    let mut request = from_bench(&bench, &slow, &[]);

    let (output, mut lines) = mpsc::channel::<bytes::Bytes>(1);
    let cancel = CancellationToken::new();
    let calling_off = async {
        let mut seen = false;
        while let Some(line) = lines.recv().await {
            if line.ends_with(b" ready\n") {
                // The shell has yet to become the program.
                until_running(&seconds, true).await;
                cancel.cancel();
                seen = true;
            }
        }
        seen
    };
    let building = bench.engine.build(&request, output, cancel.clone());
    let (built, seen) = tokio::join!(building, calling_off);
    let error = built.expect_err("called off");
    assert!(matches!(error, BuildError::Cancelled), "{error:?}");
    assert!(seen, "the program is seen while it runs");
    until_running(&seconds, false).await;

    let brief = Duration::from_secs(2);
    request.limits.silent = brief;
    let error = bench.build(&request).await.expect_err("silent");
    assert!(
        matches!(error, BuildError::Silent { after } if after == brief),
        "{error:?}"
    );
    until_running(&seconds, false).await;

    (request.limits.silent, request.limits.total) = (PATIENCE, brief);
    let error = bench.build(&request).await.expect_err("slow");
    assert!(
        matches!(error, BuildError::Deadline { after } if after == brief),
        "{error:?}"
    );
    until_running(&seconds, false).await;
}

#[tokio::test]
async fn layers_of_run_are_cached_for_their_user_only() {
    let bench = Bench::docker().await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("TOKEN"), "anna's").expect("a secret");
    let mut first = from_bench(
        &bench,
        "RUN --mount=type=secret,id=TOKEN echo made with $(/bin/busybox cat /run/secrets/TOKEN)\n",
        &[],
    );
    first.secrets = SecretFiles {
        folder: Some(folder.path().to_owned()),
        names: vec!["TOKEN".to_owned()],
    };
    let output = built(&bench, &first).await;
    assert!(output.contains(" made with anna's\n"), "{output}");

    let output = built(&bench, &first).await;
    assert!(
        step(&output, "RUN").contains("CACHED"),
        "one's own layers are used: {output}"
    );

    let mut hers = of_another(&bench, &first);
    hers.secrets = SecretFiles::default();
    let output = built(&bench, &hers).await;
    assert!(
        output.contains(" made with\n"),
        "another's layers are not: {output}"
    );
}

#[tokio::test]
async fn caches_belong_to_one_user() {
    let bench = Bench::docker().await;
    let look = |n: u32| {
        let run = "echo found: $(/bin/busybox ls /c); echo > /c/mark";
        from_bench(
            &bench,
            &format!("RUN --mount=type=cache,target=/c,id=../x {run} # {n}\n"),
            &[],
        )
    };
    let output = built(&bench, &look(1)).await;
    assert!(output.contains(" found:\n"), "{output}");
    let output = built(&bench, &look(2)).await;
    assert!(output.contains(" found: mark\n"), "{output}");
    let output = built(&bench, &of_another(&bench, &look(3))).await;
    assert!(output.contains(" found:\n"), "{output}");
}

#[tokio::test]
async fn no_dockerfile_reaches_anothers_image() {
    let bench = Bench::docker().await;
    let secret = from_bench(&bench, "RUN echo secret > /secret\n", &[]);
    let id = bench.build(&secret).await.expect("built");
    let bare = id.strip_prefix("sha256:").unwrap_or(&id);
    let (repository, _) = secret.tag.split_once(':').expect("a tag");
    for name in [
        &id,
        bare,
        bare.split_at(12).0,
        bare.split_at(5).0,
        repository,
        &format!("dop\\q{}", repository.strip_prefix("dopq").expect("ours")),
    ] {
        for text in [
            format!("FROM {name}\n"),
            format!("ARG N={name}\nFROM ${{N:-x}}\n"),
            format!("{}COPY --from={name} /secret /\n", begin(&bench)),
            format!(
                "{}RUN --mount=from={name},target=/m cat /m/secret\n",
                begin(&bench)
            ),
        ] {
            let request = bench.request(&bench.zip(&[("Dockerfile", text.as_bytes())]));
            let (built, output) = bench.build_and_listen(&of_another(&bench, &request)).await;
            assert!(built.is_err(), "{text}: {output}");
        }
    }
}

#[tokio::test]
async fn what_people_write_today_builds() {
    let bench = Bench::docker().await;
    let dockerfile = format!(
        "# syntax=docker/dockerfile:1.7\n# escape=\\\n{begin}ARG TARGETARCH\n\
         RUN --mount=type=bind,target=/m --mount=type=tmpfs,target=/t \\\n  \
           echo arch $TARGETARCH, bound $(/bin/busybox cat /m/x), $(/bin/busybox df /t | /bin/busybox grep -c tmpfs)\n\
         RUN /bin/busybox --install -s /bin\n\
         RUN <<EOF\necho here one\necho \"and two\"\nEOF\n\
         RUN <<-'A' cat && cat <<B | tr b c\n\techo $1\n\tA\nbb\nB\n\
         RUN --mount=type=bind,target=/m <<E\n#!/bin/busybox sh\necho script $(cat /m/x)\nE\n\
         COPY --link --chmod=600 x /y\n\
         RUN echo mode $(/bin/busybox stat -c %a /y)\n\
         FROM scratch AS unused\nRUN [\"/absent\"]\n\
         FROM {base} AS last\nCOPY --from=0 /y /z\n",
        begin = begin(&bench),
        base = bench.base,
    );
    let files = [("Dockerfile", dockerfile.as_bytes()), ("x", b"me")];
    let request = bench.request(&bench.zip(&files));
    let output = built(&bench, &request).await;
    assert!(output.contains(" arch amd64, bound me, 1\n"), "{output}");
    for line in [
        "here one",
        "and two",
        "echo $1",
        "cc",
        "script me",
        "mode 600",
    ] {
        assert!(output.contains(&format!(" {line}\n")), "{line}: {output}");
    }
    assert!(!output.contains("/absent"), "{output}");
}

#[tokio::test]
async fn only_what_changed_is_sent_again() {
    let bench = Bench::docker().await;
    let large = vec![b'x'; 3 * 1024 * 1024];
    let build = |small: &'static [u8]| {
        let files: [(&str, &[u8]); 3] = [("large", &large), ("small", small), ("other", b"")];
        from_bench(
            &bench,
            "COPY large /\nCOPY small /\nRUN /bin/busybox cat /small\n",
            &files,
        )
    };
    let output = built(&bench, &build(b"first")).await;
    assert!(
        step(&output, "load build context").contains("MiB done"),
        "{output}"
    );
    // Equal in size and time.
    let output = built(&bench, &build(b"other")).await;
    assert!(output.contains(" other\n"), "{output}");
    let sent = step(&output, "load build context");
    assert!(sent.contains(" done") && !sent.contains("MiB"), "{output}");
    assert!(step(&output, "COPY large").contains("CACHED"), "{output}");
}

#[tokio::test]
async fn a_working_directory_in_a_kernel_tree_does_not_reach_the_machine() {
    let bench = Bench::docker().await;
    for n in 3..20 {
        let instructions =
            format!("WORKDIR /proc/self/fd/{n}\nRUN /bin/busybox ls ../../../../etc/passwd\n");
        let request = from_bench(&bench, &instructions, &[]);
        let (built, output) = bench.build_and_listen(&request).await;
        assert!(built.is_err(), "{output}");
    }
}

#[tokio::test]
async fn a_url_is_not_fetched_past_the_network_of_builds() {
    let bench = Bench::docker().await;
    let request = from_bench(&bench, "ADD http://127.0.0.1:9/x /x\n", &[]);
    let detail = refused(&bench, &request).await;
    assert!(detail.contains("over their own network"), "{detail}");
    let found = bench.engine.find_image(&request.tag).await;
    assert_eq!(found.expect("asked"), None);
    let files: [(&str, &[u8]); 1] = [("a file", b"x")];
    built(
        &bench,
        &from_bench(&bench, "ADD [\"a file\", \"/x\"]\n", &files),
    )
    .await;
}

#[tokio::test]
async fn an_image_that_is_too_large_is_removed() {
    let bench = Bench::docker().await;
    let mut request = from_bench(&bench, "RUN echo x > /x\n", &[]);
    request.limits.image = ByteSize(1024);
    let detail = refused(&bench, &request).await;
    assert!(detail.contains("the maximum is 1 KiB"), "{detail}");
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
