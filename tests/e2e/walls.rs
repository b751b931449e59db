//! A worker that was taken over, with its own key and all rights at the broker, against the cluster.

use std::time::Duration;

use bytes::Bytes;
use dopq_common::broker::{Broker, amqp};
use dopq_common::id::{AttemptId, Epoch, WorkerId};
use dopq_common::job::{Cause, Outcome};
use dopq_common::wire::{
    AttemptOrder, ClusterKey, NumberedReport, Order, OrderEnvelope, Report, ReportEnvelope,
    ToWorker, WIRE_VERSION, WorkerKey, read_envelope,
};
use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::programs::{Master, Worker, unique};
use dopq_tests::services::{RabbitMq, Redis};
use dopq_tests::{engine, wait_for};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use serde_json::value::to_raw_value;

const SECRET: &str = "a secret of this test alone";
const PATIENCE: Duration = Duration::from_secs(60);

/// What the attacker has: a key of its own, the broker's account of the masters, and the network.
struct Evil {
    name: WorkerId,
    key: WorkerKey,
    broker: Broker,
    url: String,
    client: Client,
}

impl Evil {
    /// Says `report` in the name of `named`, sealed with the attacker's key as `sealed`.
    async fn report(&self, sealed: &WorkerId, named: &WorkerId, report: Report) {
        let report = NumberedReport {
            seq: u64::MAX / 2,
            at_ms: 0,
            report,
        };
        let envelope = ReportEnvelope {
            version: WIRE_VERSION,
            worker: named.clone(),
            reports: vec![to_raw_value(&report).expect("JSON")],
        };
        let body = self.key.seal(sealed, &envelope).expect("sealed");
        self.broker
            .publish_report(body.into())
            .await
            .expect("queued");
    }

    async fn order(&self, to: &WorkerId, body: Vec<u8>) {
        self.broker
            .publish_order(to, body.into())
            .await
            .expect("queued");
    }

    /// Asks a master's data plane as `worker` with `token`.
    async fn data(&self, verb: Method, path: &str, worker: &str, token: &str) -> StatusCode {
        let request = self
            .client
            .request(verb, format!("{}/{path}", self.url))
            .header("dopq-worker", worker)
            .bearer_auth(token)
            .body("forged");
        request.send().await.expect("an answer").status()
    }
}

fn worker(name: &str) -> WorkerId {
    name.parse().expect("a name")
}

fn orders(epoch: u64, attempt: AttemptId, order: Order) -> Vec<u8> {
    let order = AttemptOrder { attempt, order };
    serde_json::to_vec(&OrderEnvelope {
        version: WIRE_VERSION,
        epoch: Epoch(epoch),
        orders: vec![to_raw_value(&order).expect("JSON")],
    })
    .expect("JSON")
}

fn failed() -> Outcome {
    Outcome::new(Cause::UserError, "forged")
}

fn hello(agent: &str) -> Report {
    let hello = json!({
        "kind": "hello", "session": "s", "agent": agent, "engine": "e", "gpu_mode": "none", "images": [],
        "capacity": {"cpu_milli": 64_000, "memory_bytes": 1_u64 << 40, "gpus": [
            {"id": format!("GPU-{agent}"), "model": "m", "memory_bytes": 1_u64 << 34, "healthy": true}
        ], "slots_per_gpu": 1, "labels": {"zone": "evil"}},
        "attempts": []
    });
    serde_json::from_value(hello).expect("a hello")
}

fn node_key(admin: &Cli, name: &str) -> String {
    let made = admin.json(&["node", "add", name]);
    made["key"].as_str().expect("a key").to_owned()
}

fn node(admin: &Cli, name: &str) -> Option<String> {
    let nodes = admin.json(&["nodes"]);
    let nodes = nodes["nodes"].as_array().expect("nodes").clone();
    let found = nodes.into_iter().find(|node| node["name"] == name)?;
    Some(found["state"].as_str().expect("a state").to_owned())
}

/// How many messages of that kind the master refused.
fn refused(url: &str, kind: &str) -> u64 {
    let line = format!("dopq_fenced_messages_total{{kind=\"{kind}\"}} ");
    let text = tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(async {
            let answer = reqwest::get(format!("{url}/metrics")).await;
            answer.expect("metrics").text().await.expect("text")
        });
    let found = text.lines().find_map(|at| at.strip_prefix(&line));
    found.map_or(0, |count| count.parse().expect("a number"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_worker_that_was_taken_over_touches_nothing_but_its_own() {
    let cluster = unique("taken");
    let rabbit = RabbitMq::shared();
    let redis = Redis::start();
    let bundles = tempfile::tempdir().expect("a folder");
    // The broker is reached by an address that is not a loopback one, so that only own keys are good.
    let broker_url = rabbit.url().replace("127.0.0.1", "0.0.0.0");
    let mut environment: Vec<(String, String)> = [
        ("DOPQ_CLUSTER", cluster.clone()),
        ("DOPQ_SECRET", SECRET.to_owned()),
        ("DOPQ_STORE_URL", redis.url()),
        ("DOPQ_BUNDLES_URL", bundles.path().display().to_string()),
        ("DOPQ_BROKER_URL", broker_url.clone()),
        ("DOPQ_BROKER_PREFIX", cluster.clone()),
        ("DOPQ_SCHEDULER_LOST_AFTER", "1h".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec();
    let master = Master::start(&environment);
    let (admin, url) = (master.admin(), master.url());
    let bert = admin.add_user("bert");
    environment.retain(|(key, _)| key != "DOPQ_SECRET");
    environment.push(("DOPQ_MASTER_URLS".to_owned(), url.clone()));
    let with = |key: &str, value: &str| {
        let mut settings = environment.clone();
        settings.retain(|(name, _)| {
            !name.starts_with("DOPQ_STORE") && !name.starts_with("DOPQ_BUNDLES")
        });
        settings.push((key.to_owned(), value.to_owned()));
        settings
    };

    // Without a key of its own nobody joins, whatever secret they know.
    let stranger = Worker::start("gpu-stranger", 1, &with("DOPQ_SECRET", SECRET));
    wait_for("the stranger to be told", PATIENCE, || {
        let told = stranger.program.output();
        told.contains("do not accept this worker's key")
            .then_some(())
    });
    wait_for("the master to tell of it", PATIENCE, || {
        let told = master.program.output();
        told.contains("worker gpu-stranger has no key here")
            .then_some(())
    });
    assert_eq!(node(&admin, "gpu-stranger"), None);
    drop(stranger);

    let honest_key = node_key(&admin, "gpu-a");
    let labels = ("DOPQ_LABELS".to_owned(), "zone=good".to_owned());
    let mut settings = with("DOPQ_KEY", &honest_key);
    settings.push(labels);
    let mut honest = Worker::start("gpu-a", 2, &settings);
    wait_for("gpu-a to join", PATIENCE, || {
        (node(&admin, "gpu-a").as_deref() == Some("up")).then_some(())
    });

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let open = |client: &str| {
        let mut options = amqp::Options::new(broker_url.clone(), cluster.clone(), client);
        options.prefix = cluster.clone();
        Broker::Amqp(amqp::Broker::open(options).expect("acceptable"))
    };
    let evil = Evil {
        name: worker("gpu-evil"),
        key: node_key(&admin, "gpu-evil").parse().expect("a key"),
        broker: open("evil"),
        url: url.clone(),
        client: Client::new(),
    };
    let (me, victim) = (&evil.name, worker("gpu-a"));

    // It joins, and gets a job of its own.
    runtime.block_on(evil.report(me, me, hello("evil")));
    wait_for("gpu-evil to join", PATIENCE, || node(&admin, "gpu-evil"));
    let lured = Bundle::script("admin", "lured", "true").with("labels", json!({"zone": "evil"}));
    let lured = admin.submit(lured.path());
    let own_order = runtime.block_on(async {
        let mut deliveries = evil.broker.consume_orders(me).await.expect("orders");
        deliveries.next().await.expect("an order").body
    });
    let body = evil.key.open_to(ToWorker::Orders, me, &own_order);
    assert!(body.is_ok(), "its own orders are for it");

    // While gpu-a is away, it reads an order that is meant for it, and puts it back.
    honest.program.kill();
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); [ -e /outdir/go ] && break; sleep 0.1; done; echo honest; echo result >/outdir/r";
    let job = Bundle::script("bert", "victim", script).with("labels", json!({"zone": "good"}));
    let job = bert.submit(job.path());
    let stolen: Bytes = runtime.block_on(async {
        let thief = open("thief");
        let mut deliveries = thief.consume_orders(&victim).await.expect("orders");
        let stolen = deliveries.next().await.expect("an order").body;
        thief.close().await;
        stolen
    });
    assert!(
        evil.key
            .open_to(ToWorker::Orders, &victim, &stolen)
            .is_err()
    );
    let text = stolen
        .splitn(2, |byte| *byte == b'\n')
        .nth(1)
        .expect("a body");
    let envelope: OrderEnvelope = read_envelope(text).expect("orders");
    let order: AttemptOrder = serde_json::from_str(envelope.orders[0].get()).expect("an order");
    let attempt = order.attempt;
    let Order::Run(run) = order.order else {
        panic!("not an order to run: {order:?}");
    };
    assert_eq!(run.user.as_str(), "bert");
    let token = run.token.reveal();
    honest.restart();
    wait_for("bert's job to run", PATIENCE, || {
        (bert.job(job)["state"] == "running").then_some(())
    });

    // With the token alone, or with the wrong key, nothing is opened.
    let base = format!("data/v1/attempts/{attempt}");
    runtime.block_on(async {
        let proof = evil.key.proof(token);
        for presented in [token, proof.reveal(), evil.key.reveal().as_str()] {
            for named in ["gpu-a", "gpu-evil"] {
                for (verb, what) in [
                    (Method::GET, "bundle"),
                    (Method::PUT, "logs/0"),
                    (Method::PUT, "results"),
                ] {
                    let path = format!("{base}/{what}");
                    let status = evil.data(verb, &path, named, presented).await;
                    let refused = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
                    assert!(refused.contains(&status), "{path} as {named}: {status}");
                }
            }
        }
        for path in ["v1/jobs", "v1/queue"] {
            let status = evil
                .data(Method::GET, path, "gpu-evil", &evil.key.reveal())
                .await;
            assert!(status.is_client_error(), "{path}: {status}");
        }
    });

    // Reports about bert's job, in its own name and in that of gpu-a; and a worker that is not there.
    let forged = || Report::Finished {
        attempt,
        outcome: failed(),
        ran_ms: 1,
        log_bytes: 0,
        results: None,
    };
    runtime.block_on(async {
        evil.report(me, me, forged()).await;
        evil.report(&victim, &victim, forged()).await;
        evil.report(me, &victim, forged()).await;
        evil.report(&worker("gpu-ghost"), &worker("gpu-ghost"), hello("ghost"))
            .await;
        let shared = ClusterKey::from_secret("a guess").worker(&victim);
        let sealed = shared.seal(&victim, &hello("twin")).expect("sealed");
        let sent = evil.broker.publish_report(sealed.into()).await;
        sent.expect("queued");
    });
    wait_for("the forged reports to be refused", PATIENCE, || {
        (refused(&url, "forged_report") >= 3 && refused(&url, "unknown_worker") >= 1).then_some(())
    });
    assert_eq!(node(&admin, "gpu-ghost"), None);

    // Orders to gpu-a: not sealed, sealed with another key, and the stolen one with a later epoch.
    let stop = |epoch| {
        let stop = Order::Stop {
            outcome: failed(),
            grace: Duration::ZERO,
            insists: true,
        };
        orders(epoch, attempt, stop)
    };
    runtime.block_on(async {
        evil.order(&victim, stop(u64::MAX)).await;
        evil.order(&victim, stop(envelope.epoch.0)).await;
        let sealed = evil.key.seal_to(ToWorker::Orders, &victim, &stop(u64::MAX));
        evil.order(&victim, sealed).await;
        let replay = String::from_utf8_lossy(&stolen).replace("\"epoch\":1", "\"epoch\":9");
        evil.order(&victim, replay.into_bytes()).await;
    });
    wait_for("the forged orders to be refused", PATIENCE, || {
        let told = honest.program.output();
        (told.matches("dropped a message of orders").count() >= 4).then_some(())
    });

    // Even with gpu-a's own key no epoch is believed that no master knows of.
    let leaked: WorkerKey = honest_key.parse().expect("a key");
    let jump = leaked.seal_to(ToWorker::Orders, &victim, &stop(u64::MAX));
    runtime.block_on(evil.order(&victim, jump));
    wait_for("the jump to be refused", PATIENCE, || {
        let told = honest.program.output();
        told.contains("a leadership that no master knows of")
            .then_some(())
    });

    // Bert's job knows nothing of all this, and gpu-a is as good as before.
    assert_eq!(bert.job(job)["state"], "running");
    let container = engine::containers(&cluster, false);
    assert_eq!(container.len(), 1, "{container:?}");
    let end = bert.finished(job);
    assert_eq!(end["outcome"]["cause"], "succeeded", "{end:#}");
    let log = bert.run(&["logs", &job.to_string()]).ok().text();
    assert!(log.contains("honest") && !log.contains("forged"), "{log}");
    let after =
        Bundle::script("bert", "after", "echo fine").with("labels", json!({"zone": "good"}));
    let after = bert.finished(bert.submit(after.path()));
    assert_eq!(after["outcome"]["cause"], "succeeded", "{after:#}");

    // Once its key is gone, it is nobody.
    let removed = admin.run(&["node", "rm", "--force", "gpu-evil"]).ok();
    assert!(
        removed.stderr.contains("run elsewhere"),
        "{}",
        removed.stderr
    );
    let state = &admin.job(lured)["state"];
    assert_eq!(state, "queued");
    let before = refused(&url, "unknown_worker");
    runtime.block_on(evil.report(me, me, hello("evil")));
    wait_for("its report to be refused", PATIENCE, || {
        (refused(&url, "unknown_worker") > before).then_some(())
    });
    assert_eq!(node(&admin, "gpu-evil"), None);
    runtime.block_on(evil.broker.close());
    if honest.program.runs() {
        honest.program.kill();
    }
    engine::sweep(&cluster);
}
