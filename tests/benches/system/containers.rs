//! Real containers through DoPQ, in one process with simulated GPUs, beside the same containers on the
//! bare engine, by turns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::ContainerCreateBody;
use dopq_tests::bundle::Bundle;
use dopq_tests::engine::{containers, sweep};
use dopq_tests::programs::Standalone;
use serde_json::json;

use crate::Scale;
use crate::client::{Client, timed};
use crate::engine::Engine;
use crate::row::{Row, Unit};

/// As many containers are started at once as a worker does by default on two cores.
const AT_ONCE: usize = 4;

/// One process with a real engine, and what its containers are created with.
pub(crate) struct Bench {
    pub(crate) master: Standalone,
    pub(crate) client: Client,
    pub(crate) engine: Engine,
    pub(crate) digest: String,
    /// Creates the same container past DoPQ.
    pub(crate) body: ContainerCreateBody,
    /// The cluster that such containers are labelled with.
    pub(crate) bare: String,
    _bundle: Bundle,
}

impl Bench {
    /// For jobs that run `script`.
    pub(crate) async fn start(script: &str) -> Self {
        let gpus = u32::try_from(AT_ONCE).expect("few");
        let master = Standalone::start(gpus);
        let client = Client::of(master.url(), &master.admin());
        let engine = Engine::open().await;
        let script = format!("[ -z \"$HOLD\" ] || sleep 600\n{script}");
        let bundle = Bundle::script("admin", "bench", &script).with("network", json!("none"));
        // The first job builds the image, and leaves the bundle at the master.
        let built = client.over(master.admin().submit(bundle.path())).await;
        assert_eq!(built["outcome"]["cause"], "succeeded", "{built:#}");
        let digest = built["bundle"].as_str().expect("a digest").to_owned();
        let bare = format!("{}-bare", master.cluster);
        let id = client
            .submit(&digest, json!({"env": {"HOLD": "1"}, "grace": "1s"}))
            .await;
        while containers(&master.cluster, false).is_empty() {
            let job = client.json(&format!("/v1/jobs/{id}")).await;
            assert_ne!(job["state"], "finished", "{job:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut body = engine.copied(&master.cluster, &bare).await;
        if let Some(env) = &mut body.env {
            env.retain(|variable| variable != "HOLD=1");
        }
        let cancelled = master.admin().run(&["cancel", &id.to_string()]);
        assert_eq!(cancelled.code, 0, "{}", cancelled.stderr);
        client.all_over().await;
        Self {
            master,
            client,
            engine,
            digest,
            body,
            bare,
            _bundle: bundle,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        sweep(&self.bare);
    }
}

/// The clusters that a measurement in the process `pid` may have left at the engine.
pub(crate) fn clusters(pid: u32) -> [String; 2] {
    [format!("alone-{pid}-0-bare"), format!("alone-{pid}-0")]
}

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let bench = Bench::start("exit 0").await;
    vec![rate(&bench, scale).await, start(&bench, scale).await]
}

async fn rate(bench: &Bench, scale: Scale) -> Row {
    let count = scale.pick(60, 12);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    // A rate is that of a machine at work: the first jobs make the networks that later ones find.
    bench.client.run(&bench.digest, 4 * AT_ONCE, AT_ONCE).await;
    for _ in 0..scale.pick(5, 2) {
        let took = bench.client.run(&bench.digest, count, AT_ONCE).await;
        ours.push(count as f64 / took.as_secs_f64());
        let ((), took) = timed(bench.engine.run(&bench.body, count, AT_ONCE)).await;
        bare.push(count as f64 / took);
    }
    let what = format!("isolated containers, submit to finish, {AT_ONCE} at once");
    Row::new(what, Unit::PerSecond, &ours).beside("bare engine", &bare)
}

async fn start(bench: &Bench, scale: Scale) -> Row {
    let (engine, cluster) = (&bench.engine, &bench.master.cluster);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..scale.pick(20, 5) {
        let began = now();
        bench.client.submit(&bench.digest, json!({})).await;
        ours.push(engine.time_of("start", cluster, began).await - began);
        bench.client.all_over().await;
        let began = now();
        let id = engine.start(&bench.body).await;
        bare.push(engine.time_of("start", &bench.bare, began).await - began);
        engine.wait(&id).await;
        engine.remove(&id).await;
    }
    Row::new("submit to container start, isolated", Unit::Seconds, &ours)
        .beside("bare create and start", &bare)
}

/// Seconds since 1970, as the engine has them.
pub(crate) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}
