//! What an attempt used, from its samples to the report.

use std::time::Duration;

use dopq_common::resources::TakenBy;
use dopq_common::telemetry::Measured;
use dopq_common::wire::Report;

use super::rig::Rig;
use crate::docker::Usage;
use crate::docker::fake::Program;

/// Long enough for three samples of a container whose figures the engine gives.
const SAMPLED: Duration = Duration::from_secs(8);

async fn measured(rig: &mut Rig) -> Measured {
    loop {
        match rig.report().await {
            Report::Measured { measured, .. } => return *measured,
            Report::Finished { .. } => panic!("the end came first"),
            Report::Hello(_)
            | Report::Goodbye
            | Report::Accepted { .. }
            | Report::Refused { .. }
            | Report::Entered { .. }
            | Report::Unknown => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_used_is_reported_before_its_end() {
    let mut rig = Rig::new().await;
    let data = rig.dir.path().join("data");
    std::fs::create_dir_all(&data).expect("folder");
    let acts = r#"{"0": {"utilization_ratio": 0.5, "power_watts": 100, "memory_used_bytes": 7}}"#;
    std::fs::write(data.join("simulated-gpus.json"), acts).expect("written");
    let usage = Usage {
        cpu_cores: 1.5,
        memory_bytes: 1 << 20,
        ..Usage::default()
    };
    rig.fake.script(
        "dopq-1-1-070707070707",
        Program::new().runs_on().uses(usage),
    );
    rig.start().await;
    rig.run("1.1", "").await;
    rig.until("running").await;
    tokio::time::sleep(SAMPLED).await;
    rig.stop("1.1", 1000).await;
    let used = measured(&mut rig).await;
    assert_eq!(used.attempt, 1);
    for figures in [used.mean, used.peak] {
        assert_eq!((figures.cpu_milli, figures.memory_bytes), (1500, 1 << 20));
        assert_eq!((figures.gpu_milli, figures.gpu_memory_bytes), (500, 7));
        assert_eq!(figures.gpu_milliwatts, 100_000);
    }
    assert!(used.covered_ms >= 1000, "{used:?}");
    assert!(used.gpu_millijoules >= 100_000, "{used:?}");
    assert!(used.series.is_some());
    rig.finished("1.1").await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_with_a_foreign_process_is_told_and_refused_until_it_is_gone() {
    let mut rig = Rig::new().await;
    let data = rig.dir.path().join("data");
    std::fs::create_dir_all(&data).expect("folder");
    let file = data.join("simulated-gpus.json");
    let acts = r#"{"0": {"foreign": "pid 4711 (python3 of bert)"}}"#;
    std::fs::write(&file, acts).expect("written");
    rig.start().await;
    let taken = async |rig: &mut Rig, count| loop {
        if let Report::Hello(hello) = rig.report().await
            && hello.taken.len() == count
        {
            return hello.taken;
        }
    };
    let told = taken(&mut rig, 1).await;
    let (gpu, told) = told.into_iter().next().expect("one");
    assert_eq!(gpu.as_str(), "GPU-sim-w1-0");
    assert_eq!(
        (told.by, told.detail.as_str()),
        (TakenBy::Foreign, "pid 4711 (python3 of bert)")
    );
    rig.run("1.1", "").await;
    rig.until("refused: this worker has no GPU GPU-sim-w1-0 for jobs now")
        .await;
    std::fs::remove_file(&file).expect("removed");
    taken(&mut rig, 0).await;
    rig.run("2.1", "").await;
    rig.until("running").await;
    rig.stop("2.1", 1000).await;
    rig.finished("2.1").await;
    rig.end().await;
}
