//! Networks that are ready before their jobs, through the programs and the real engine.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::filter::{Table, can_be_set, listen};
use dopq_tests::programs::Standalone;
use dopq_tests::wait_for;
use serde_json::json;

/// Long enough to make a network on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// Tells its namespace and what it finds there, then leaves what it can.
const SCRIPT: &str = "
readlink /proc/self/ns/net
netstat -ltn | grep -c ':8080 '
grep -c evil /etc/hosts /etc/hostname /etc/resolv.conf
nc -l -p 8080 &
sleep 600 &
for f in hosts hostname resolv.conf; do echo evil > /etc/$f; done
sleep 0.2
netstat -ltn | grep -c ':8080 '
";

/// The running containers that hold networks for a cluster.
fn holders(cluster: &str) -> BTreeSet<String> {
    let filter = format!("label=dopq.holder={cluster}");
    let output = Command::new("docker")
        .args(["ps", "--quiet", "--no-trunc", "--filter", &filter])
        .output()
        .expect("docker runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}

fn wait_for_holders(cluster: &str) -> BTreeSet<String> {
    wait_for("a ready network", READY, || {
        let found = holders(cluster);
        (!found.is_empty()).then_some(found)
    })
}

/// What the job printed, line by line.
fn printed(admin: &Cli, bundle: &Bundle) -> Vec<String> {
    let id = admin.submit(bundle.path());
    let job = admin.finished(id);
    assert_eq!(job["outcome"]["cause"], json!("succeeded"), "{job:#}");
    let log = admin.run(&["logs", &id.to_string(), "--source", "stdout"]);
    log.ok().text().lines().map(str::to_owned).collect()
}

#[test]
fn successive_jobs_share_a_network_and_nothing_else() {
    let mut master = Standalone::start(1);
    let admin = master.admin();
    let bundle = Bundle::script("admin", "network", SCRIPT);
    wait_for_holders(&master.cluster);
    let found = [
        "0",
        "/etc/hosts:0",
        "/etc/hostname:0",
        "/etc/resolv.conf:0",
        "1",
    ];
    let mut networks = BTreeSet::new();
    // On a busy machine a job's sockets may be closed too late for the next one.
    let is_shared = (0..20).any(|_| {
        let mut lines = printed(&admin, &bundle);
        assert_eq!(lines[1..], found, "{lines:?}");
        let network = lines.swap_remove(0);
        assert!(network.starts_with("net:["), "{network}");
        !networks.insert(network)
    });
    assert!(is_shared, "none was used twice: {networks:?}");

    // A host name of its own takes the ordinary way.
    let named =
        Bundle::script("admin", "named", "hostname").with("run_params", json!({"hostname": "box"}));
    assert_eq!(printed(&admin, &named), ["box"]);

    // What kill -9 leaves is replaced, and an ordered end leaves nothing.
    let before = wait_for_holders(&master.cluster);
    master.program.kill();
    assert_eq!(holders(&master.cluster), before);
    master.restart();
    wait_for("another network", READY, || {
        let now = holders(&master.cluster);
        (!now.is_empty() && now.is_disjoint(&before)).then_some(())
    });
    // A network whose container is gone is noticed when the next job comes.
    for holder in holders(&master.cluster) {
        let killed = Command::new("docker").args(["kill", &holder]).output();
        assert!(killed.expect("docker runs").status.success());
    }
    assert_eq!(printed(&admin, &bundle)[1..], found);
    wait_for_holders(&master.cluster);
    master.program.stop();
    assert_eq!(holders(&master.cluster).len(), 0);
}

#[test]
fn jobs_reach_what_their_administrator_lets_them() {
    if !can_be_set("egress") {
        return;
    }
    let port = listen("here\n");
    let script = format!(
        "gateway=$(ip route | awk '/default/ {{ print $3 }}')
        timeout 4 wget -q -O - http://$gateway:{port}/ || echo nothing"
    );
    for (egress, heard) in [
        ("open", "here"),
        ("internet", "nothing"),
        ("none", "nothing"),
    ] {
        let mut master = Standalone::start_with(1, &[("DOPQ_WORKER_NETWORK_EGRESS", egress)]);
        let name = format!("{}/local", master.cluster);
        let digest = blake3::hash(name.as_bytes()).to_hex();
        let table = Table(format!("dopq-{}", digest.split_at(16).0));
        let admin = master.admin();
        wait_for_holders(&master.cluster);
        let nodes = admin.json(&["nodes"]);
        let node = &nodes["nodes"][0];
        assert_eq!(node["egress"], egress);
        assert_eq!(node["build_egress"], "default");
        // In a ready network, and in one of its own.
        for run_params in [json!({}), json!({"hostname": "box"})] {
            let bundle =
                Bundle::script("admin", "reaches", &script).with("run_params", run_params.clone());
            assert_eq!(printed(&admin, &bundle), [heard], "{egress} {run_params}");
        }
        // Jobs may run on after a worker has ended.
        master.program.stop();
        assert_eq!(table.stands(), egress == "internet");
    }
}
