//! 100,000 lines of output: from the container's end to the job's, and read back.

use std::process::Command;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::Scale;
use crate::client::{process, timed};
use crate::containers::{Bench, now};
use crate::row::{Row, Unit};

const LINES: usize = 100_000;
/// As a training script prints them.
const SCRIPT: &str = "awk 'BEGIN { for (i = 1; i <= 100000; i++) \
    printf \"step %06d loss 0.123456 accuracy 0.654321 rate 0.001\\n\", i }'";

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let bench = Bench::start(SCRIPT).await;
    let (mut ends, mut ours, mut plain, mut http) = (vec![], vec![], vec![], vec![]);
    for _ in 0..scale.pick(3, 1) {
        let began = now();
        let id = bench.client.submit(&bench.digest, json!({})).await;
        let died = bench
            .engine
            .time_of("die", &bench.master.cluster, began)
            .await;
        let job = bench.client.over(id).await;
        let finished = job["finished_at"].as_str().expect("a time");
        let finished: DateTime<Utc> = finished.parse().expect("a time");
        ends.push(finished.timestamp_micros() as f64 / 1e6 - died);

        let id = id.to_string();
        let reads = ["logs", &id, "--source", "stdout"];
        ours.push(printed(bench.master.admin().command(&reads)));
        let path = format!("/v1/jobs/{id}/logs?source=stdout");
        let (body, took) = timed(bench.client.get(&path)).await;
        assert_eq!(lines(&body), LINES);
        http.push(took);

        let container = bench.engine.start(&bench.body).await;
        bench.engine.wait(&container).await;
        let mut docker = Command::new("docker");
        docker.args(["logs", &container]);
        plain.push(printed(docker));
        bench.engine.remove(&container).await;
    }
    let docker = "docker logs";
    vec![
        Row::new(
            "100,000 log lines, container's end to job's end",
            Unit::Seconds,
            &ends,
        )
        .reach(1.0)
        .beside(docker, &plain),
        Row::new(
            "`dopq logs` of 100,000 lines, whole process",
            Unit::Seconds,
            &ours,
        )
        .reach(0.3)
        .beside(docker, &plain),
        Row::new("GET of 100,000 log lines", Unit::Seconds, &http).beside(docker, &plain),
    ]
}

/// How long a process took that prints all lines.
fn printed(command: Command) -> f64 {
    let (took, output) = process(command);
    assert_eq!(lines(&output), LINES);
    took
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
