//! The end of a job whose files are hostile, and of one that is asked to save its state.

use std::fs;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dopq_tests::bundle::Bundle;
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::json;

/// Nests folders far beyond the longest path, and makes links of all kinds beside a report.
const HOSTILE: &str = "
mkdir /outdir/run && echo weights > /outdir/run/5.ckpt && ln -s 5.ckpt /outdir/run/last.ckpt
ln -s /outdir/run /outdir/latest; ln -s /etc/passwd /outdir/bad; mkfifo /outdir/pipe
cd /outdir; i=0; while [ $i -lt 2200 ]; do mkdir deep && cd -P deep || exit 9; i=$((i+1)); done
";

/// Saves its state when it is asked to end; its shell knows nothing of it.
const SAVES: &str = "
cat > /program <<'EOF'
trap 'sleep 1; echo saved > /outdir/state; exit 85' TERM
echo ready
while :; do sleep 1; done
EOF
sh /program
exit $?
";

#[test]
fn a_job_ends_soon_whatever_it_wrote_and_tells_what_is_missing() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let hostile = admin.submit(Bundle::script("admin", "hostile", HOSTILE).path());
    let next = admin.submit(Bundle::script("admin", "next", "true").path());
    let job = admin.finished(hostile);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    let timeline = job["timeline"].as_array().expect("a timeline");
    let at = |state: &str| -> DateTime<Utc> {
        let line = timeline.iter().find(|line| line["state"] == state);
        let at = line.and_then(|line| line["at"].as_str());
        at.expect(state).parse().expect("a time")
    };
    let publishing = at("finished") - at("publishing");
    assert!(publishing < TimeDelta::seconds(30), "{publishing}");
    let results = &job["results"];
    assert_eq!(results["complete"], json!(false), "{job:#}");
    assert_eq!(results["left_out"], json!(3), "{job:#}");
    let shown = admin.run(&["show", &hostile.to_string()]).ok();
    assert!(shown.text().contains("3 left out"), "{}", shown.text());
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("results");
    let into = target.to_str().expect("UTF-8");
    drop(
        admin
            .run(&["fetch", &hostile.to_string(), "--into", into])
            .ok(),
    );
    for name in ["run/last.ckpt", "latest/5.ckpt"] {
        let content = fs::read_to_string(target.join(name)).expect("a link inside");
        assert_eq!(content, "weights\n", "{name}");
    }
    assert!(fs::symlink_metadata(target.join("bad")).is_err());
    let manifest = fs::read(target.join("dopq-manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let left_out = manifest["left_out"].as_array().expect("a list");
    assert_eq!(left_out.len(), 3, "{manifest:#}");
    assert_eq!(admin.finished(next)["outcome"]["cause"], json!("succeeded"));
    let out = master.data_dir().join("worker/out/admin");
    wait_for(
        "the folders of both jobs to go",
        Duration::from_secs(60),
        || {
            let jobs = fs::read_dir(&out).expect("the user's folder").count();
            (jobs == 0).then_some(())
        },
    );
}

#[test]
fn a_program_below_a_shell_uses_its_grace_when_it_is_cancelled() {
    let master = Standalone::start(1);
    let admin = master.admin();
    let bundle = Bundle::script("admin", "saves", SAVES).with("grace", json!("30s"));
    let id = admin.submit(bundle.path());
    wait_for("the job to print", Duration::from_secs(90), || {
        let log = admin.run(&["logs", &id.to_string(), "--source", "stdout"]);
        log.text().contains("ready").then_some(())
    });
    drop(admin.run(&["cancel", &id.to_string()]).ok());
    let job = admin.finished(id);
    assert_eq!(job["outcome"]["cause"], json!("cancelled"), "{job:#}");
    assert_eq!(job["outcome"]["exit_code"], json!(85), "{job:#}");
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("results");
    let into = target.to_str().expect("UTF-8");
    drop(admin.run(&["fetch", &id.to_string(), "--into", into]).ok());
    let state = fs::read_to_string(target.join("state")).expect("its state");
    assert_eq!(state, "saved\n");
}
