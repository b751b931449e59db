//! A client of the HTTP API, and the time that whole programs take.

use std::process::Command;
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

/// States of jobs that are not over.
const OPEN: &str = "queued,assigned,building,running,paused,stopping,publishing";

/// The administrator's connection to one master.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// Logged in as `cli` is.
    pub(crate) fn of(url: String, cli: &Cli) -> Self {
        Self {
            http: reqwest::Client::new(),
            url,
            token: token(cli),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let answer = request.bearer_auth(&self.token).send().await;
        let answer = answer.expect("the master answers");
        if answer.status().is_success() {
            return answer;
        }
        panic!("{}: {:?}", answer.status(), answer.text().await);
    }

    /// The body of a GET.
    pub(crate) async fn get(&self, path: &str) -> Vec<u8> {
        let request = self.http.get(format!("{}{path}", self.url));
        let answer = self.send(request).await;
        answer.bytes().await.expect("a body").to_vec()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).await).expect("JSON")
    }

    /// Uploads; gives the digest.
    pub(crate) async fn put(&self, bundle: &Bundle) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let zip = bundle.zip_to(&folder.path().join("bundle.zip"));
        let bytes = std::fs::read(zip).expect("a zip");
        let digest = blake3::hash(&bytes).to_string();
        let request = self.http.put(format!("{}/v1/bundles/{digest}", self.url));
        self.send(request.body(bytes)).await;
        digest
    }

    pub(crate) async fn submit(&self, digest: &str, overrides: Value) -> u64 {
        let request = self.http.post(format!("{}/v1/jobs", self.url));
        let body = json!({"bundle": digest, "overrides": overrides});
        let job: Value = self
            .send(request.json(&body))
            .await
            .json()
            .await
            .expect("JSON");
        job["id"].as_u64().expect("an id")
    }

    /// Submits `jobs` from `clients` at once and waits until all are over; how long that took.
    pub(crate) async fn run(&self, digest: &str, jobs: usize, clients: usize) -> Duration {
        let began = Instant::now();
        stream::iter(0..jobs)
            .for_each_concurrent(clients, |_| async {
                self.submit(digest, json!({})).await;
            })
            .await;
        self.all_over().await;
        began.elapsed()
    }

    /// Waits until no job is queued or under way.
    pub(crate) async fn all_over(&self) {
        let path = format!("/v1/jobs?state={OPEN}&limit=1");
        while self.json(&path).await["jobs"] != json!([]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the end of one job; gives the job.
    pub(crate) async fn over(&self, id: u64) -> Value {
        loop {
            let job = self.json(&format!("/v1/jobs/{id}")).await;
            if job["state"] == "finished" {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The token that the command line uses.
pub(crate) fn token(cli: &Cli) -> String {
    let command = cli.command(&[]);
    let token = command.get_envs().find(|(name, _)| *name == "DOPQ_TOKEN");
    let token = token.and_then(|(_, value)| value?.to_str());
    token.expect("a token").to_owned()
}

/// How long the whole process takes, in seconds, with what it printed.
pub(crate) fn process(mut command: Command) -> (f64, Vec<u8>) {
    let began = Instant::now();
    let output = command.output().expect("it runs");
    let took = began.elapsed().as_secs_f64();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    (took, output.stdout)
}

/// How long `what` takes, in seconds.
pub(crate) async fn timed<T>(what: impl Future<Output = T>) -> (T, f64) {
    let began = Instant::now();
    let done = what.await;
    (done, began.elapsed().as_secs_f64())
}
