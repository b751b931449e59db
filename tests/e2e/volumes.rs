//! Folders that outlive jobs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dopq_tests::bundle::{Bundle, DOCKERFILE};
use dopq_tests::cli::Cli;
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder without links in its path, and what removes it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    (folder, root)
}

fn job(user: &str, name: &str, script: &str, fields: &[(&str, Value)]) -> Bundle {
    let mut job = Bundle::script(user, name, script).with("num_gpus", json!(0));
    for (field, value) in fields {
        job = job.with(field, value.clone());
    }
    job
}

/// The refusal of a submission.
fn refused(cli: &Cli, bundle: &Bundle) -> String {
    let path = bundle.path().to_str().expect("UTF-8");
    let answer = cli.run(&["submit", path]);
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    answer.stderr
}

#[test]
fn a_volume_is_mounted_as_its_administrator_wants_and_for_its_group() {
    let (_kept, root) = folder();
    for name in ["data", "scratch", "faces"] {
        fs::create_dir(root.join(name)).expect("made");
    }
    fs::write(root.join("data/classes"), "cat\n").expect("written");
    let at = |name: &str| root.join(name).display().to_string();
    let named = format!(
        "data={},scratch={} read-write,faces={} groups: vision",
        at("data"),
        at("scratch"),
        at("faces")
    );
    let master = Standalone::start_with(1, &[("DOPQ_WORKER_VOLUMES_NAMED", &named)]);
    let admin = master.admin();
    let (anna, bert) = (admin.add_user("anna"), admin.add_user("bert"));
    drop(admin.run(&["group", "set", "vision"]).ok());
    drop(
        admin
            .run(&["user", "limit", "anna", "--group", "vision"])
            .ok(),
    );
    let status = wait_for("the worker to join", Duration::from_secs(60), || {
        let status = bert.json(&["status"]);
        (status["workers"]["up"] == 1).then_some(status)
    });
    let volume = |name: &str, read_only, groups: &[&str]| json!({"name": name, "read_only": read_only, "groups": groups, "nodes": ["local"]});
    assert_eq!(
        status["volumes"],
        json!([
            volume("data", true, &[]),
            volume("faces", true, &["vision"]),
            volume("scratch", false, &[]),
        ])
    );

    let script = "test \"$(cat /volumes/data/classes)\" = cat || exit 9
        if echo x > /volumes/data/x; then exit 8; fi
        if echo x > /volumes/faces/x; then exit 7; fi
        echo kept > /volumes/scratch/result";
    let all = [("volumes", json!(["data", "faces", "scratch"]))];
    let id = anna.submit(job("anna", "reads", script, &all).path());
    let done = anna.finished(id);
    assert_eq!(done["outcome"]["cause"], json!("succeeded"), "{done:#}");
    assert!(!root.join("data/x").exists() && !root.join("faces/x").exists());
    let kept = fs::read_to_string(root.join("scratch/result"));
    assert_eq!(kept.expect("kept"), "kept\n");

    let told = refused(&bert, &job("bert", "looks", "true", &all));
    assert!(
        told.contains("volume faces is for members of vision, and bert is in no group"),
        "{told}"
    );
    let absent = [("volumes", json!(["imagenet"]))];
    let told = refused(&bert, &job("bert", "wants", "true", &absent));
    assert!(
        told.contains("none offers the volumes imagenet; volumes there are: data, faces, scratch"),
        "{told}"
    );
    let path = job("bert", "checks", "true", &absent);
    let checked = bert
        .run(&["check", path.path().to_str().expect("UTF-8")])
        .ok();
    assert!(
        checked
            .stderr
            .contains("volume imagenet: no node offers it"),
        "{}",
        checked.stderr
    );
}

#[test]
fn a_workspace_lasts_over_attempts_and_jobs_of_one_user_and_nobody_else_sees_it() {
    let (_kept, root) = folder();
    let workspace = root.display().to_string();
    let master = Standalone::start_with(2, &[("DOPQ_WORKER_VOLUMES_WORKSPACE", &workspace)]);
    let admin = master.admin();
    let (anna, bert) = (admin.add_user("anna"), admin.add_user("bert"));
    let succeeded = |cli: &Cli, job: Bundle| {
        let id = cli.submit(job.path());
        let done = cli.finished(id);
        assert_eq!(done["outcome"]["cause"], json!("succeeded"), "{done:#}");
        done
    };
    // The first attempt fails after its first step; the second goes on from there.
    let trains = "cd $DOPQ_WORKSPACE && test -e step && echo 2 >> step && exit 0
        echo 1 > step; exit 1";
    let resumed = job("anna", "trains", trains, &[("retries", json!(1))]);
    let done = succeeded(&anna, resumed);
    assert_eq!(done["attempt"], json!(2), "{done:#}");
    let step = fs::read_to_string(root.join("anna/files/step"));
    assert_eq!(step.expect("kept"), "1\n2\n");

    // As in DoPQ 1.0, and as another user of the container.
    let evaluates = "test \"$(wc -l < /outdir/step)\" = 2 && echo 98 > /outdir/score";
    let fields = [
        ("outdir", json!("shared")),
        ("run_params", json!({"user": "1000:1000"})),
    ];
    let done = succeeded(&anna, job("anna", "evaluates", evaluates, &fields));
    assert_eq!(
        done["results"],
        Value::Null,
        "nothing is published: {done:#}"
    );
    assert!(root.join("anna/files/score").exists());

    // An image that keeps its program in a folder of that name.
    let begins = "test -e /workspace/run.sh && test -e $DOPQ_WORKSPACE/step";
    let works_there = job("anna", "begins", begins, &[]);
    let dockerfile =
        format!("{DOCKERFILE}WORKDIR /workspace\nCOPY run.sh .\nCMD [\"/bin/sh\", \"run.sh\"]\n");
    works_there.file("Dockerfile", dockerfile.as_bytes());
    succeeded(&anna, works_there);

    let looks = "test -z \"$(ls -A /workspace)\" && echo mine > /workspace/file";
    succeeded(&bert, job("bert", "looks", looks, &[]));
    assert!(root.join("bert/files/file").exists());
    assert!(!root.join("anna/files/file").exists());
    let mode = fs::metadata(root.join("anna"))
        .expect("there")
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o700
    );
}

#[test]
fn a_full_workspace_stops_what_fills_it_and_lets_its_user_clean_up() {
    let (_kept, root) = folder();
    let workspace = root.display().to_string();
    let settings = [
        ("DOPQ_WORKER_VOLUMES_WORKSPACE", workspace.as_str()),
        ("DOPQ_WORKER_VOLUMES_WORKSPACE_QUOTA", "4m"),
    ];
    let master = Standalone::start_with(1, &settings);
    let admin = master.admin();
    let ends = |name: &str, script: &str, gpus: u32| {
        let job = Bundle::script("admin", name, script).with("num_gpus", json!(gpus));
        let id = admin.submit(job.path());
        admin.finished(id)
    };
    let fills = "dd if=/dev/zero of=/workspace/big bs=1048576 count=8
        trap 'exit 0' TERM; while :; do sleep 1; done";
    let done = ends("fills", fills, 1);
    assert_eq!(
        done["outcome"]["cause"],
        json!("quota_exceeded"),
        "{done:#}"
    );
    let detail = done["outcome"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("/workspace holds 8"), "{done:#}");
    assert!(detail.contains("the quota is 4 MiB"), "{done:#}");

    let refused = ends("trains", "echo never > /workspace/never", 1);
    assert_eq!(
        refused["outcome"]["cause"],
        json!("quota_exceeded"),
        "{refused:#}"
    );
    assert!(!root.join("admin/files/never").exists());

    let done = ends("cleans", "rm /workspace/big", 0);
    assert_eq!(done["outcome"]["cause"], json!("succeeded"), "{done:#}");
    wait_for("the room to be seen", Duration::from_secs(60), || {
        let done = ends("trains", "true", 1);
        (done["outcome"]["cause"] == "succeeded").then_some(())
    });
}
