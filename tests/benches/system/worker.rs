//! One real worker alone with a real master, containers left out; what both take when idle; `dopq ps`.

use std::process::Command;
use std::time::Duration;

use crate::Scale;
use crate::client::{process, token};
use crate::rig::{Rig, bundle, cpu_seconds, resident_mib};
use crate::row::{Row, Unit};

const GPUS: u32 = 64;
const CLIENTS: usize = 64;

pub(crate) async fn measure(scale: Scale) -> Vec<Row> {
    let rig = Rig::start(GPUS);
    let mut rows = idle(&rig, scale).await;
    rows.push(jobs(&rig, scale).await);
    rows.push(list(&rig, scale));
    rows
}

async fn jobs(rig: &Rig, scale: Scale) -> Row {
    let jobs = scale.pick(3_000, 1_000);
    let client = rig.client();
    let digest = client.put(&bundle()).await;
    client.run(&digest, jobs / 10, CLIENTS).await;
    let mut rates = Vec::new();
    for _ in 0..scale.pick(3, 1) {
        let took = client.run(&digest, jobs, CLIENTS).await;
        rates.push(jobs as f64 / took.as_secs_f64());
    }
    let answer = client.json("/v1/jobs?limit=1").await;
    let cause = &answer["jobs"][0]["outcome"]["cause"];
    assert_eq!(cause, "succeeded", "{answer:#}");
    let what = "jobs submitted and finished; one real worker, no containers, services on disk";
    Row::new(what, Unit::PerSecond, &rates).reach(1_500.0)
}

async fn idle(rig: &Rig, scale: Scale) -> Vec<Row> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let programs = [
        ("master", rig.master.program.pid()),
        ("worker", rig.worker.program.pid()),
    ];
    let span = Duration::from_secs(scale.pick(20, 5));
    let before = programs.map(|(_, pid)| cpu_seconds(pid));
    tokio::time::sleep(span).await;
    let rows = programs.iter().zip(before).map(|((name, pid), before)| {
        let share = (cpu_seconds(*pid) - before) / span.as_secs_f64();
        [
            Row::new(
                format!("idle {name}: memory"),
                Unit::Mebibytes,
                &[resident_mib(*pid)],
            )
            .reach(50.0),
            Row::new(
                format!("idle {name}: CPU of one core"),
                Unit::Percent,
                &[100.0 * share],
            )
            .reach(1.0),
        ]
    });
    rows.flatten().collect()
}

/// Beside `curl` of what `dopq ps` asks for.
fn list(rig: &Rig, scale: Scale) -> Row {
    let admin = rig.master.admin();
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..scale.pick(40, 10) {
        if has_curl {
            let mut curl = Command::new("curl");
            curl.args(["-sSf", &format!("{}/v1/jobs", rig.master.url()), "-H"]);
            curl.arg(format!("Authorization: Bearer {}", token(&admin)));
            plain.push(process(curl).0);
        }
        ours.push(process(admin.command(&["ps"])).0);
    }
    Row::new("`dopq ps`, whole process", Unit::Seconds, &ours)
        .reach(0.005)
        .beside("curl", &plain)
}
