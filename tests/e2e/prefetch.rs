//! Images that are built while their jobs wait, through the programs and the real engine.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use dopq_tests::bundle::{Bundle, DOCKERFILE};
use dopq_tests::cli::Cli;
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::json;

/// Long enough for a build on a busy machine.
const BUILT: Duration = Duration::from_secs(120);

/// The ids of the images that DoPQ built for a cluster.
fn images(cluster: &str) -> BTreeSet<String> {
    let filter = format!("label=dopq.cluster={cluster}");
    let output = Command::new("docker")
        .args(["images", "--quiet", "--no-trunc", "--filter", &filter])
        .output()
        .expect("docker runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A job that holds the only GPU.
fn occupy(admin: &Cli) -> u64 {
    let id = admin.submit(Bundle::script("admin", "busy", "sleep 600").path());
    wait_for("the first job to run", BUILT, || {
        (admin.job(id)["state"] == "running").then_some(())
    });
    id
}

/// A job whose build leaves the time of its last step in the image.
fn stamped(name: &str, step: &str) -> Bundle {
    let bundle = Bundle::script("admin", name, "cat /stamp");
    let steps = format!(
        "{DOCKERFILE}RUN {step}\nRUN date +%s%N > /stamp\nCOPY run.sh /run.sh\nCMD [\"/bin/sh\", \"/run.sh\"]\n"
    );
    bundle.file("Dockerfile", steps.as_bytes());
    bundle
}

/// Whether a process of this machine has this command line.
fn runs(command: &[u8]) -> bool {
    let processes = fs::read_dir("/proc").expect("readable");
    processes.flatten().any(|process| {
        let line = fs::read(process.path().join("cmdline"));
        line.is_ok_and(|line| line == command)
    })
}

fn log(admin: &Cli, id: u64, source: &str) -> String {
    let answer = admin.run(&["logs", &id.to_string(), "--source", source]);
    answer.ok().text()
}

#[test]
fn the_image_of_a_waiting_job_is_there_before_the_job_starts() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let busy = occupy(&admin);
    let before = images(&master.cluster);

    // What fails ahead is told by its job alone, and holds up nothing.
    let fails = admin.submit(stamped("fails", "echo broken && exit 3").path());
    let waits = admin.submit(stamped("waits", "echo layer").path());
    let built = wait_for("the image of the waiting job", BUILT, || {
        let now = images(&master.cluster);
        (now.len() > before.len()).then_some(now)
    });
    for id in [fails, waits] {
        assert_eq!(admin.job(id)["state"], json!("queued"));
    }
    drop(admin.run(&["cancel", &busy.to_string()]).ok());

    let job = admin.finished(waits);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    assert_eq!(images(&master.cluster), built, "nothing more was built");
    let build = log(&admin, waits, "build");
    assert!(
        build.contains("built before the job had its machine"),
        "{build}"
    );
    assert!(build.contains("echo layer"), "{build}");
    let job = admin.finished(fails);
    assert_eq!(job["outcome"]["cause"], json!("build_failed"), "{job:#}");
    let build = log(&admin, fails, "build");
    assert!(
        build.contains("broken") && !build.contains("[dopq]"),
        "{build}"
    );
}

#[test]
fn a_job_that_gets_its_machine_in_mid_build_goes_on_with_that_build() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let busy = occupy(&admin);
    let waits = admin.submit(stamped("waits", "echo slow && sleep 23").path());
    // The build runs on this machine, and its step is one of the processes.
    wait_for("the build to begin", BUILT, || {
        runs(b"sleep\x0023\x00").then_some(())
    });
    drop(admin.run(&["cancel", &busy.to_string()]).ok());
    let job = admin.finished(waits);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    let build = log(&admin, waits, "build");
    assert!(
        build.contains("built before the job had its machine"),
        "{build}"
    );
}

#[test]
fn nothing_is_built_ahead_where_that_is_off() {
    let master = Standalone::start_with(1, &[("DOPQ_WORKER_PREFETCH", "false")]);
    let admin = master.admin();
    let busy = occupy(&admin);
    let before = images(&master.cluster);
    let waits = admin.submit(stamped("waits", "echo layer").path());
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(images(&master.cluster), before);
    drop(admin.run(&["cancel", &busy.to_string()]).ok());
    let job = admin.finished(waits);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    let build = log(&admin, waits, "build");
    assert!(!build.contains("[dopq]"), "{build}");
}
