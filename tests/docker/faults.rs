//! Engines that hang, vanish and come back: the real one on a socket of its own, and listeners that
//! pretend to be one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dopq_worker::docker::fake::{Fake, Fault, Program};
use dopq_worker::docker::{Client, Engine, Error, Signal, Status};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::bench::{Bench, PATIENCE, joined};

/// Every call that has a deadline, with its name.
async fn every_call(engine: &Engine) -> Vec<(&'static str, Error)> {
    let id = "0123456789ab";
    vec![
        ("probe", engine.probe().await.expect_err("probe")),
        ("inspect", engine.inspect(id).await.expect_err("inspect")),
        ("start", engine.start(id).await.expect_err("start")),
        (
            "kill",
            engine.kill(id, &Signal::kill()).await.expect_err("kill"),
        ),
        ("remove", engine.remove(id, true).await.expect_err("remove")),
        ("list", engine.list(&[]).await.expect_err("list")),
        (
            "find image",
            engine
                .find_image(id)
                .await
                .map(drop)
                .expect_err("find image"),
        ),
        (
            "logs",
            engine
                .logs(id, false, true)
                .next()
                .await
                .expect("an item")
                .expect_err("logs"),
        ),
    ]
}

#[tokio::test]
async fn an_engine_that_hangs_is_told_by_a_deadline_on_every_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let hanging = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.spawn(async move {
                std::future::pending::<()>().await;
                drop(connection);
            });
        }
    });
    let brief = Duration::from_millis(100);
    let engine = Engine::Docker(Client::with_deadline(&address(&path), brief));
    for (call, error) in every_call(&engine).await {
        assert!(
            matches!(error, Error::Deadline { after, .. } if after == brief),
            "{call}: {error:?}"
        );
        assert!(error.is_uncertain());
    }
    hanging.abort();
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_and_found_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sock");
    let engine = Engine::Docker(Client::new(&address(&path)));
    for (call, error) in every_call(&engine).await {
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{call}: {error:?}"
        );
    }
    // The same handle finds it once it is there.
    let host = crate::bench::host();
    let socket = host.strip_prefix("unix://").expect("a socket");
    std::os::unix::fs::symlink(socket, &path).expect("linked");
    assert_ne!(engine.probe().await.expect("there").version, "");
}

#[tokio::test]
async fn an_engine_that_breaks_off_is_unreachable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sock");
    let listener = UnixListener::bind(&path).expect("bound");
    let breaking = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = connection.read(&mut request).await.unwrap_or(0);
            let version = String::from_utf8_lossy(&request[..read]).contains("/version");
            let answer: &[u8] = if version {
                b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"ApiVersion\":\"1.41\"}"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"Id\":"
            };
            drop(connection.write_all(answer).await);
        }
    });
    let engine = Engine::Docker(Client::new(&address(&path)));
    let error = engine.inspect("x").await.expect_err("broken off");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    breaking.abort();
}

fn address(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// An engine of our own.
struct Daemon {
    folder: tempfile::TempDir,
    child: Option<Child>,
    live_restore: bool,
}

impl Daemon {
    async fn start(live_restore: bool) -> Self {
        let mut daemon = Self {
            folder: tempfile::tempdir().expect("a folder"),
            child: None,
            live_restore,
        };
        daemon.restart().await;
        daemon
    }

    fn engine(&self) -> Engine {
        Engine::Docker(Client::new(&address(&self.folder.path().join("sock"))))
    }

    async fn restart(&mut self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = std::fs::File::create(self.folder.path().join("log")).expect("made");
        // An engine without a bridge removes the bridge of the machine's own engine as it starts; in a
        // network namespace of its own it finds none.
        let child = Command::new("unshare")
            .args(["--net", "dockerd"])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args([
                "--pidfile",
                &path("pid"),
                "-H",
                &address(&self.folder.path().join("sock")),
            ])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg(format!("--live-restore={}", self.live_restore))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare and dockerd are installed");
        self.child = Some(child);
        let up = async {
            while self.engine().probe().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let text = || std::fs::read_to_string(path("log")).unwrap_or_default();
        tokio::time::timeout(PATIENCE, up)
            .await
            .unwrap_or_else(|_| panic!("{}", text()));
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("running").id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the engine's own end, and for its helper's, which a killed engine takes along; an engine
    /// that starts before that counts on the helper in vain.
    fn ended(&mut self) {
        let mut child = self.child.take().expect("running");
        child.wait().expect("waited");
        let Some(pid) = self.helper() else { return };
        dopq_tests::wait_for("the engine's helper to end", PATIENCE, || {
            (!Path::new("/proc").join(&pid).exists()).then_some(())
        });
    }

    fn helper(&self) -> Option<String> {
        let pid = self.folder.path().join("exec/containerd/containerd.pid");
        Some(std::fs::read_to_string(pid).ok()?.trim().to_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal("TERM");
            self.ended();
        }
    }
}

/// Counts for ever, a line every 20 ms.
const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i; /bin/busybox usleep 20000; done";

/// 1, 2, 3, … without a gap.
fn assert_counts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    for (at, line) in text.lines().enumerate() {
        assert_eq!(line, (at + 1).to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_engine_ends_waits_and_logs_and_what_it_killed_shows() {
    let mut daemon = Daemon::start(false).await;
    let bench = Bench::on(daemon.engine()).await;
    let id = bench.run(&bench.plan(1, COUNT)).await;
    bench.printed(&id, "3\n").await;
    let engine = bench.engine.clone();
    let mut pieces = engine.logs(&id, false, true);
    pieces.next().await.expect("a piece").expect("readable");

    let waiting = engine.wait(&id);
    let following = async {
        let mut last = None;
        while let Some(piece) = pieces.next().await {
            last = Some(piece.map(drop));
        }
        last
    };
    let stopping = async { daemon.signal("TERM") };
    let all = async { tokio::join!(waiting, following, stopping) };
    let (waited, followed, ()) = tokio::time::timeout(PATIENCE, all).await.expect("both end");
    // Which of the two comes first is the engine's luck; never anything else.
    match waited {
        Ok(exit) => assert!([137, 143].contains(&exit.code), "{exit:?}"),
        Err(error) => assert!(matches!(error, Error::Unreachable { .. }), "{error:?}"),
    }
    let error = followed
        .expect("an item")
        .expect_err("a follower hears that the engine went");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");

    daemon.ended();
    daemon.restart().await;
    let seen = daemon
        .engine()
        .inspect(&id)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(seen.status, Status::Exited);
    assert!([Some(137), Some(143)].contains(&seen.exit_code), "{seen:?}");
    assert!(!seen.oom_killed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_that_restores_loses_no_container_and_no_line() {
    let mut daemon = Daemon::start(true).await;
    let bench = Bench::on(daemon.engine()).await;
    let id = bench.run(&bench.plan(1, COUNT)).await;
    bench.printed(&id, "3\n").await;

    let waiting = daemon.engine();
    let waiting = waiting.wait(&id);
    let killing = async { daemon.signal("KILL") };
    let (waited, ()) = tokio::join!(waiting, killing);
    let error = waited.expect_err("the engine went");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = daemon.engine().inspect(&id).await.expect_err("it is gone");
    assert!(error.is_uncertain(), "{error:?}");

    daemon.ended();
    daemon.restart().await;
    let engine = daemon.engine();
    let seen = engine.inspect(&id).await.expect("asked").expect("there");
    assert_eq!(seen.status, Status::Running);
    let before = joined(&bench.output(&id, false).await, None);
    assert_counts(&before);
    // It goes on from where it was.
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    bench.printed(&id, &format!("\n{}\n", lines + 5)).await;
    engine.kill(&id, &Signal::kill()).await.expect("killed");
    assert_eq!(engine.wait(&id).await.expect("ended").code, 137);
    let all = joined(&bench.output(&id, true).await, None);
    assert!(all.starts_with(&before));
    assert_counts(&all);
}

/// The fake's own versions of the same, which the worker's tests rely on.
#[tokio::test]
async fn the_fake_goes_away_as_the_real_one_does() {
    let bench = Bench::fake();
    let fake = bench.fake.clone().expect("the fake");
    bench.script("count", Program::new().prints("1\n").runs_on());
    for live_restore in [true, false] {
        let job = if live_restore { 1 } else { 2 };
        let id = bench.run(&bench.plan(job, "count")).await;
        bench.printed(&id, "1\n").await;
        let mut pieces = bench.engine.logs(&id, false, true);
        pieces.next().await.expect("a piece").expect("readable");
        let (waited, ()) = tokio::join!(bench.engine.wait(&id), async {
            while !fake.calls().contains(&format!("wait {id}")) {
                tokio::task::yield_now().await;
            }
            fake.stop_engine(live_restore);
        });
        if live_restore {
            let error = waited.expect_err("the engine went");
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        } else {
            assert_eq!(waited.expect("it said so first").code, 137);
        }
        let error = pieces
            .next()
            .await
            .expect("an item")
            .expect_err("the engine went");
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        for (call, error) in every_call(&bench.engine).await {
            assert!(
                matches!(error, Error::Unreachable { .. }),
                "{call}: {error:?}"
            );
        }
        fake.start_engine();
        let seen = bench
            .engine
            .inspect(&id)
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(seen.status.is_alive(), live_restore);
    }
}

#[tokio::test]
async fn the_fakes_lost_answers_leave_what_they_did() {
    let fake = Fake::new();
    let mut bench = Bench::fake();
    bench.image = fake.add_image("busybox");
    let engine = Engine::Fake(fake.clone());
    let plan = bench.plan(1, "exit 0");
    fake.fail_next("create", Fault::LostAfter);
    let error = engine.create(&plan).await.expect_err("lost");
    assert!(error.is_uncertain());
    let created = engine.create(&plan).await.expect("found");
    assert!(created.existed);
    fake.fail_next("start", Fault::LostBefore);
    fake.fail_next("start", Fault::LostAfter);
    for starts in [0, 1] {
        let error = engine.start(&created.id).await.expect_err("lost");
        assert!(error.is_uncertain());
        assert_eq!(fake.starts(&plan.name), starts);
    }
    fake.fail_next("create", Fault::DiskFull);
    let error = engine.create(&plan).await.expect_err("full");
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
}
