//! What accounts at a server may do: that of one worker, and that of all workers of `docker-compose.yml`.

use std::path::Path;
use std::time::Duration;

use dopq_common::broker::{Broker, Error, amqp};
use dopq_common::settings::{Scalar, ServiceUrl};
use dopq_master::management::{self, Management};
use dopq_tests::services::RabbitMq;
use tokio::runtime::Runtime;

use super::{Bench, body, connect, gpu, open, options, order, orders, reports, take};
use crate::soon;

pub(super) fn a_workers_account_is_enough(runtime: &Runtime, server: &mut RabbitMq) {
    let Bench { master, .. } = runtime.block_on(connect(server));
    let account = || {
        let mut options = options(server, "wide", &amqp::worker_client("gpu-01"));
        options.url = server.url_as("dopq-worker.gpu-01", "secret").into();
        options
    };
    drop(master);
    let master = runtime.block_on(open(options(server, "wide", "master")));
    let of = master.rights(&gpu(1)).expect("RabbitMQ has accounts");
    let (user, vhost) = (of.user.as_str(), of.vhost.as_str());
    server.ctl(&["add_user", user, "secret"]);
    let (configure, write, read) = (&of.configure, &of.write, &of.read);
    server.ctl(&["set_permissions", "-p", vhost, user, configure, write, read]);
    let (exchange, write, read) = (&of.exchange, &of.topic_write, &of.topic_read);
    server.ctl(&[
        "set_topic_permissions",
        "-p",
        vhost,
        user,
        exchange,
        write,
        read,
    ]);
    runtime.block_on(async {
        master.declare_worker(&gpu(1)).await.expect("declared");
        master.declare_worker(&gpu(2)).await.expect("declared");
        let worker = open(account()).await;
        it_works(&master, &worker).await;

        // Another's orders are neither to be read nor to be written.
        let forged = worker.publish_order(&gpu(2), body(4)).await;
        assert!(matches!(forged, Err(Error::Refused { .. })), "{forged:?}");
        order(&master, &gpu(2), 5).await;
        let mut foreign = orders(&worker, &gpu(2)).await;
        let stolen = tokio::time::timeout(Duration::from_secs(1), foreign.next()).await;
        assert!(
            stolen.is_err(),
            "a worker read another's orders: {stolen:?}"
        );
        // Nor sessions of others.
        let out = format!("out.gpu-02.{}", "0f".repeat(16));
        let mut told = master.subscribe_live(&[&out]).await.expect("open");
        let forged = worker.publish_live(&out, body(8)).await;
        drop(forged);
        let forged = tokio::time::timeout(Duration::from_secs(1), told.next()).await;
        assert!(forged.is_err(), "a worker spoke for another: {forged:?}");
        // Nor what others say live.
        let mut foreign = worker.subscribe_live(&["log.#"]).await.expect("open");
        master.publish_live("log.1.1", body(7)).await.expect("open");
        let overheard = tokio::time::timeout(Duration::from_secs(1), foreign.next()).await;
        assert!(
            overheard.is_err(),
            "a worker read another's log: {overheard:?}"
        );
    });
}

/// The account that a master makes through the management API is enough, and gone when it is removed.
pub(super) fn a_master_makes_and_removes_accounts(runtime: &Runtime, server: &RabbitMq, port: u16) {
    let url = server.url();
    let login = url
        .strip_prefix("amqp://")
        .and_then(|url| url.split_once('@'));
    let (login, _) = login.expect("user and password");
    let url = format!("http://{login}@127.0.0.1:{port}");
    let url = <ServiceUrl as Scalar>::read(&url).expect("a URL");
    let management = Management::new(url, None).expect("made");
    runtime.block_on(async {
        let master = open(options(server, "made", "master")).await;
        let rights = master.rights(&gpu(1)).expect("RabbitMQ has accounts");
        master.declare_worker(&gpu(1)).await.expect("declared");
        for password in ["first", "second"] {
            let mut made = management.make_account(&rights, password).await;
            // The API begins to listen a moment after the broker.
            for _ in 0..50 {
                if !matches!(made, Err(management::Error::Unreachable(_))) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                made = management.make_account(&rights, password).await;
            }
            made.expect("made");
            let mut account = options(server, "made", &amqp::worker_client("gpu-01"));
            account.url = server.url_as(&rights.user, password).into();
            let worker = open(account).await;
            it_works(&master, &worker).await;
            worker.close().await;
        }
        for time in ["once", "again"] {
            management.remove_account(&rights.user).await.expect(time);
        }
        master.close().await;
    });
    assert!(!server.ctl(&["list_users"]).contains("dopq-worker.gpu-01"));
}

/// Runs the script of the compose file against this server, twice, as `docker compose up` does on a second day.
pub(super) fn the_account_of_the_compose_file_is_enough(runtime: &Runtime, server: &mut RabbitMq) {
    let (script, server) = (script_of("worker-account"), &*server);
    let master = std::thread::scope(|scope| {
        // The master starts meanwhile.
        let opening = scope.spawn(|| runtime.block_on(open(options(server, "dopq", "master"))));
        for password in ["first", "second"] {
            server.script(&script, &[("CLUSTER", "lab"), ("PASSWORD", password)]);
        }
        opening.join().expect("open")
    });
    runtime.block_on(async {
        master.declare_worker(&gpu(1)).await.expect("declared");
        let mut account = options(server, "dopq", &amqp::worker_client("gpu-01"));
        account.url = server.url_as("worker", "second").into();
        let worker = open(account).await;
        it_works(&master, &worker).await;
        let forged = worker.publish_order(&gpu(1), body(4)).await;
        assert!(matches!(forged, Err(Error::Refused { .. })), "{forged:?}");
    });
}

/// The script that a service of `docker-compose.yml` runs.
fn script_of(service: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker-compose.yml");
    let file = std::fs::read_to_string(file).expect("the file");
    let (_, after) = file
        .split_once(&format!("\n  {service}:\n"))
        .expect("the service");
    let (_, script) = after.split_once("- |\n").expect("its script");
    let lines = script
        .lines()
        .map_while(|line| line.strip_prefix("        "));
    let lines: Vec<&str> = lines.collect();
    // Compose writes a dollar sign so.
    lines.join("\n").replace("$$", "$")
}

/// Whether a worker with an account can do what it needs to.
async fn it_works(master: &Broker, worker: &Broker) {
    let mut taken = orders(worker, &gpu(1)).await;
    order(master, &gpu(1), 1).await;
    assert_eq!(take(&mut taken, 1).await, [1]);
    worker
        .publish_report(body(2))
        .await
        .expect("it is confirmed");
    let mut reported = reports(master).await;
    assert_eq!(take(&mut reported, 1).await, [2]);
    let mut live = worker
        .subscribe_live(&["request.gpu-01"])
        .await
        .expect("open");
    master
        .publish_live("request.gpu-01", body(3))
        .await
        .expect("open");
    assert!(soon("a live message", live.next()).await.is_some());
    let mut sessions = worker.subscribe_live(&["into.gpu-01"]).await.expect("open");
    let opening = master.publish_live("into.gpu-01", body(8)).await;
    opening.expect("open");
    assert!(soon("an opening", sessions.next()).await.is_some());
    let out = format!("out.gpu-01.{}", "0f".repeat(16));
    let mut heard = master.subscribe_live(&[&out]).await.expect("open");
    let answer = worker.publish_live(&out, body(9)).await;
    answer.expect("open");
    assert!(soon("an answer", heard.next()).await.is_some());
    let mut heard = master.subscribe_live(&["heartbeat.#"]).await.expect("open");
    let beat = worker.publish_live("heartbeat.gpu-01", body(6)).await;
    beat.expect("open");
    assert!(soon("a live message", heard.next()).await.is_some());
}
