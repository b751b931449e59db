//! What a container is allowed, seen from inside it.

use std::process::Command;

use dopq_common::resources::ByteSize;
use dopq_worker::docker::{Error, HostFolder, PlanMount, PlanNetwork, Status};
use serde_json::json;

use crate::bench::{Bench, anna, joined};

/// Runs it to its end; gives what it printed.
async fn printed(bench: &Bench, plan: &dopq_worker::docker::Plan) -> String {
    let id = bench.run(plan).await;
    let pieces = bench.output(&id, true).await;
    String::from_utf8_lossy(&joined(&pieces, None)).into_owned()
}

fn inspected(format: &str, name: &str) -> String {
    let output = Command::new("docker")
        .args(["inspect", "--format", format, name])
        .output()
        .expect("docker runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_container_has_no_privileges_and_its_own_limits() {
    let bench = Bench::docker().await;
    let plan = bench.plan(
        1,
        "B=/bin/busybox; $B grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; \
         $B cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
         $B cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; \
         $B mknod /null c 1 3; $B mount -t tmpfs none /proc; $B ls /dev",
    );
    let text = printed(&bench, &plan).await;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            text.contains(&format!("{set}:\t0000000000000000\n")),
            "{set}: {text}"
        );
    }
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
    assert!(text.contains("Seccomp:\t2\n"), "{text}");
    assert!(
        text.contains(&format!("\n{}\n", 64 * ByteSize::MIB)),
        "{text}"
    );
    assert!(text.contains("\n256\n"), "{text}");
    assert_eq!(text.matches("Operation not permitted").count(), 1, "{text}");
    assert!(!text.contains("nvidia") && !text.contains("sda"), "{text}");
}

#[tokio::test]
async fn processes_are_counted() {
    let bench = Bench::docker().await;
    let mut plan = bench.plan(
        1,
        "i=0; while [ $i -lt 100 ]; do /bin/busybox sleep 600 & i=$((i+1)); done; echo all",
    );
    plan.pids = 20;
    let text = printed(&bench, &plan).await;
    assert!(text.contains("can't fork"), "{text}");
}

#[tokio::test]
async fn what_the_image_sets_is_overridden() {
    let bench = Bench::docker().await;
    let dockerfile = format!(
        "FROM {}\nENV NVIDIA_VISIBLE_DEVICES=all LD_PRELOAD=/evil.so DOPQ_JOB_ID=9 MINE=kept\n\
         STOPSIGNAL SIGUSR1\nVOLUME /outdir /data\nHEALTHCHECK CMD [\"/bin/busybox\", \"true\"]\n\
         ENTRYPOINT [\"/bin/busybox\", \"env\"]\nCMD []\n",
        bench.base
    );
    let request = bench.request(&bench.zip(&[("Dockerfile", dockerfile.as_bytes())]));
    let id = bench.build(&request).await.expect("built");
    let image = bench
        .engine
        .find_image(&id)
        .await
        .expect("asked")
        .expect("there");
    assert!(
        image.env.contains(&"NVIDIA_VISIBLE_DEVICES=all".to_owned()),
        "{image:?}"
    );

    let env = bench.plan_in(&image);
    let text = printed(&bench, &env).await;
    for line in [
        "NVIDIA_VISIBLE_DEVICES=void",
        "LD_PRELOAD=",
        "DOPQ_JOB_ID=1",
        "DOPQ_ATTEMPT=1",
        "MINE=kept",
    ] {
        assert!(
            text.lines().any(|own| own == line),
            "{line} is not in {text}"
        );
    }
    assert_eq!(
        inspected("{{.Config.Healthcheck}}", &env.name),
        "{[NONE] 0s 0s 0s 0s 0}"
    );
    assert_eq!(inspected("{{.Config.StopSignal}}", &env.name), "SIGTERM");
    let volumes = inspected("{{range .Mounts}}{{.Name}} {{end}}", &env.name);
    assert!(
        !volumes.is_empty(),
        "the image's volumes are the engine's own"
    );
    bench.engine.remove(&env.name, true).await.expect("removed");
    for volume in volumes.split_whitespace() {
        assert_eq!(inspected("{{.Name}}", volume), "", "its volumes go with it");
    }
}

#[tokio::test]
async fn imgdir_is_read_only_and_outdir_is_the_attempts_own() {
    let bench = Bench::docker().await;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    for name in ["images", "results"] {
        std::fs::create_dir(root.join(name)).expect("made");
    }
    std::fs::write(root.join("images/data"), "from the machine\n").expect("written");
    let resolve = |name: &str| HostFolder::resolve(&root.join(name)).expect("real");
    let mut plan = bench.plan(
        1,
        "/bin/busybox cat /imgdir/data; echo x > /imgdir/x; echo result > /outdir/file",
    );
    let attempt = format!("1.1-{}", "07".repeat(16)).parse();
    let attempt = attempt.expect("an attempt");
    let outdir = resolve("results")
        .for_attempt(&anna(), attempt)
        .expect("made");
    plan.mounts = vec![
        PlanMount {
            source: resolve("images"),
            target: "/imgdir".into(),
            read_only: true,
        },
        PlanMount {
            source: outdir,
            target: "/outdir".into(),
            read_only: false,
        },
    ];
    let text = printed(&bench, &plan).await;
    assert!(text.contains("from the machine\n"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    let result = std::fs::read_to_string(root.join("results/anna/1-070707070707/1/file"));
    assert_eq!(result.expect("published"), "result\n");
}

#[tokio::test]
async fn a_workspace_is_for_every_user_in_the_container_and_for_nobody_else_on_the_machine() {
    let bench = Bench::docker().await;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    let workspace = HostFolder::resolve(&root).expect("real");
    let workspace = workspace.of_user(&anna(), &["files"]).expect("made");
    workspace.open_to_all().expect("opened");
    let mount = |mut plan: dopq_worker::docker::Plan| {
        plan.mounts = vec![PlanMount {
            source: workspace.clone(),
            target: "/workspace".into(),
            read_only: false,
        }];
        plan
    };
    let first = bench.plan_with(
        1,
        "echo kept > /workspace/file; /bin/busybox mknod /workspace/null c 1 3; echo done",
        json!({"user": "1000:1000"}),
    );
    let text = printed(&bench, &mount(first)).await;
    assert!(text.contains("done\n"), "{text}");
    assert!(text.contains("not permitted"), "no devices: {text}");
    let second = bench.plan_with(
        2,
        "/bin/busybox cat /workspace/file; echo more > /workspace/other; /bin/busybox ls /workspace",
        json!({"user": "2000:2000"}),
    );
    let text = printed(&bench, &mount(second)).await;
    assert_eq!(text, "kept\nfile\nother\n");
    let wall = std::fs::metadata(root.join("anna")).expect("there");
    let mode = std::os::unix::fs::PermissionsExt::mode(&wall.permissions());
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn workers_that_start_at_once_share_one_bridge() {
    let bench = Bench::docker().await;
    let network = format!("dopq-{}", bench.cluster);
    for _ in 0..5 {
        let asked = (0..4).map(|_| bench.engine.ensure_network(&network, &bench.cluster));
        for made in futures::future::join_all(asked).await {
            made.expect("there");
        }
        let output = Command::new("docker")
            .args(["network", "ls", "--quiet", "--filter"])
            .arg(format!("name=^{network}$"))
            .output()
            .expect("docker runs");
        let ids = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(ids.lines().count(), 1, "{ids}");
        let removed = Command::new("docker")
            .args(["network", "rm", &network])
            .output();
        assert!(removed.expect("docker runs").status.success());
    }
}

#[tokio::test]
async fn containers_on_the_bridge_cannot_reach_each_other() {
    let bench = Bench::docker().await;
    let network = format!("dopq-{}", bench.cluster);
    for _ in 0..2 {
        bench
            .engine
            .ensure_network(&network, &bench.cluster)
            .await
            .expect("there");
    }
    let mut listener = bench.plan(
        1,
        "echo ready; while true; do echo secret | /bin/busybox nc -l -p 9000; done",
    );
    listener.network = PlanNetwork::Bridge(network.clone());
    let id = bench.run(&listener).await;
    bench.printed(&id, "ready").await;
    let address = inspected(
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        &id,
    );
    assert!(address.contains('.'), "{address}");
    let call = format!("/bin/busybox nc -w 2 {address} 9000 </dev/null || echo unreachable");
    let mut caller = bench.plan(2, &call);
    caller.network = PlanNetwork::Bridge(network.clone());
    let text = printed(&bench, &caller).await;
    assert!(
        text.contains("unreachable") && !text.contains("secret"),
        "{text}"
    );

    let alone = bench.plan(3, "/bin/busybox ls /sys/class/net");
    assert_eq!(printed(&bench, &alone).await, "lo\n");

    let error = bench
        .engine
        .ensure_network("bridge", &bench.cluster)
        .await
        .expect_err("not ours");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
}

#[tokio::test]
async fn the_users_own_parameters_arrive() {
    let bench = Bench::docker().await;
    let parameters = json!({
        "environment": {"A": "b c"}, "working_dir": "/work", "hostname": "box", "user": "1000:1000",
        "read_only": true, "tmpfs": {"/work": "size=1m"}, "shm_size": "32m",
        "ulimits": [{"name": "nofile", "soft": 99, "hard": 99}], "labels": {"mine": "yes"},
    });
    let shell = "echo $A; pwd; /bin/busybox hostname; /bin/busybox id -u; ulimit -n; \
                 /bin/busybox df -k /dev/shm | /bin/busybox tail -n1; echo x > /x";
    let plan = bench.plan_with(1, shell, parameters);
    let text = printed(&bench, &plan).await;
    for line in ["b c", "/work", "box", "1000", "99"] {
        assert!(
            text.lines().any(|own| own == line),
            "{line} is not in {text}"
        );
    }
    assert!(text.contains(" 32768 "), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    let seen = bench
        .engine
        .inspect(&plan.name)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        (seen.status, seen.labels["mine"].as_str()),
        (Status::Exited, "yes")
    );
}
