//! Network namespaces that containers join, on the real engine.

use std::time::Duration;

use dopq_tests::programs::unique;
use dopq_worker::docker::{
    Error, HostFolder, JoinedNetwork, NETWORK_FILES, Plan, PlanNetwork, Status, Traces,
    holder_image,
};

use crate::bench::{Bench, PATIENCE, joined};

/// A container that holds a namespace.
struct Holder {
    id: String,
    name: String,
    pid: u32,
}

impl Holder {
    async fn start(bench: &Bench, network: PlanNetwork) -> Self {
        bench.engine.add_holder_image().await.expect("imported");
        let name = unique("holder");
        let mut plan = bench.plan(1000, "");
        plan.name = name.clone();
        plan.image = holder_image();
        plan.network = network;
        plan.user.init = false;
        plan.user.command = Some(vec!["/wait".to_owned(), name.clone()]);
        let id = bench.run(&plan).await;
        let found = bench.engine.inspect(&id).await.expect("asked");
        let pid = found.and_then(|found| found.pid).expect("it runs");
        // The engine answers before the runtime has replaced itself by the program.
        let begun = async {
            while bench.engine.traces(pid, &name).is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let begun = tokio::time::timeout(PATIENCE, begun).await;
        begun.expect("its processes are this machine's");
        Self { id, name, pid }
    }

    fn traces(&self, bench: &Bench) -> Traces {
        let traces = bench.engine.traces(self.pid, &self.name);
        traces.expect("its processes are this machine's")
    }
}

/// A job that joins the holder, with files of its own in `folder`.
async fn job(
    bench: &Bench,
    holder: &Holder,
    number: u64,
    shell: &str,
) -> (Plan, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let files = bench.engine.network_files(&holder.id).await.expect("read");
    for (name, content) in NETWORK_FILES.iter().zip(files) {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    let mut plan = bench.plan(number, shell);
    plan.network = PlanNetwork::Joined(JoinedNetwork {
        holder: holder.id.clone(),
        files: HostFolder::resolve(&folder.path().canonicalize().expect("there")).expect("real"),
    });
    (plan, folder)
}

async fn printed(bench: &Bench, plan: &Plan) -> String {
    let id = bench.run(plan).await;
    let pieces = bench.output(&id, true).await;
    bench.code(&id).await;
    String::from_utf8_lossy(&joined(&pieces, None)).into_owned()
}

#[tokio::test]
async fn a_job_in_a_joined_namespace_leaves_nothing_to_the_next() {
    let bench = Bench::docker().await;
    for network in [PlanNetwork::None, PlanNetwork::Bridge("bridge".to_owned())] {
        let holder = Holder::start(&bench, network.clone()).await;
        let new = holder.traces(&bench);
        let spoils = "B=/bin/busybox; $B readlink /proc/self/ns/net; $B nc -l -p 8080 & \
            $B sleep 0.2; $B netstat -ltn; $B sleep 600 & \
            for f in hosts hostname resolv.conf; do echo evil > /etc/$f && echo wrote; done";
        let (plan, files) = job(&bench, &holder, 1, spoils).await;
        let first = printed(&bench, &plan).await;
        assert!(first.contains(":8080"), "{first}");
        assert_eq!(
            first.matches("wrote").count(),
            3,
            "as the engine's own: {first}"
        );
        let hosts = std::fs::read_to_string(files.path().join("hosts")).expect("there");
        assert_eq!(hosts, "evil\n");
        assert_eq!(holder.traces(&bench), new, "nothing of it is left");
        let removed = bench.engine.remove(&plan.name, true).await;
        removed.expect("removed");

        let looks = "B=/bin/busybox; $B readlink /proc/self/ns/net; $B netstat -ltn; $B cat /proc/net/unix; \
            $B hostname; $B cat /etc/hostname /etc/hosts /etc/resolv.conf; $B ps";
        let (plan, _files) = job(&bench, &holder, 2, looks).await;
        let second = printed(&bench, &plan).await;
        let namespace = |text: &str| text.lines().next().map(str::to_owned);
        assert_eq!(namespace(&second), namespace(&first), "it is the same one");
        assert!(second.contains("net:["), "{second}");
        for left in [":8080", "evil", "sleep 600", " @"] {
            assert!(!second.contains(left), "{left}: {second}");
        }
        assert!(second.contains("localhost"), "{second}");
        let hostname = holder.id.split_at(12).0;
        assert_eq!(
            second.matches(&format!("{hostname}\n")).count(),
            if network == PlanNetwork::None { 2 } else { 3 },
            "{second}"
        );
        bench
            .engine
            .remove(&plan.name, true)
            .await
            .expect("removed");
        bench
            .engine
            .remove(&holder.id, true)
            .await
            .expect("removed");
    }
}

#[tokio::test]
async fn what_a_job_does_in_a_namespace_shows() {
    let bench = Bench::docker().await;
    let holder = Holder::start(&bench, PlanNetwork::None).await;
    let new = holder.traces(&bench);
    let shell = "/bin/busybox nc -l -p 8080 & echo ready; /bin/busybox sleep 600";
    let (plan, _files) = job(&bench, &holder, 1, shell).await;
    let id = bench.run(&plan).await;
    bench.printed(&id, "ready").await;
    let listens = async {
        while holder.traces(&bench).sockets == new.sockets {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let shows = tokio::time::timeout(PATIENCE, listens).await;
    shows.expect("an open socket");
    bench.engine.remove(&id, true).await.expect("removed");
    assert_eq!(holder.traces(&bench), new, "it was closed, unused");

    let shell = "B=/bin/busybox; $B nc -l -p 8080 & $B sleep 0.2; echo x | $B nc 127.0.0.1 8080";
    let (plan, _files) = job(&bench, &holder, 2, shell).await;
    printed(&bench, &plan).await;
    assert!(holder.traces(&bench).sent > new.sent, "packets were sent");
    bench
        .engine
        .remove(&holder.id, true)
        .await
        .expect("removed");
    assert_eq!(bench.engine.traces(holder.pid, &holder.name), None);
}

#[tokio::test]
async fn a_start_in_a_namespace_that_is_gone_is_told_apart() {
    let bench = Bench::docker().await;
    for removed in [false, true] {
        let holder = Holder::start(&bench, PlanNetwork::None).await;
        let (plan, _files) = job(&bench, &holder, 1, "echo ran").await;
        let created = bench.engine.create(&plan).await.expect("created");
        let kill = dopq_worker::docker::Signal::kill();
        bench.engine.kill(&holder.id, &kill).await.expect("killed");
        bench.code(&holder.id).await;
        if removed {
            bench
                .engine
                .remove(&holder.id, true)
                .await
                .expect("removed");
        }
        let error = bench.engine.start(&created.id).await.expect_err("gone");
        assert!(matches!(error, Error::NetworkGone { .. }), "{error:?}");
        let found = bench.engine.inspect(&created.id).await.expect("asked");
        let found = found.expect("there");
        assert_eq!(found.joins, Some(holder.id.clone()));
        assert_eq!(found.image, bench.image);
        assert_eq!(found.status, Status::Created);
        bench
            .engine
            .remove(&created.id, true)
            .await
            .expect("removed");
        bench
            .engine
            .remove(&holder.id, true)
            .await
            .expect("removed");
    }
}
