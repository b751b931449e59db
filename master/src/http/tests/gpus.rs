//! What GPUs and running jobs use, as the API shows it.

use dopq_common::api::{GpuList, Job};
use dopq_common::id::WorkerId;
use dopq_common::sched::Progress;
use dopq_common::telemetry::{Io, Meter, PerFigure};
use dopq_common::time::Timestamp;
use dopq_common::wire::{GpuUse, Heartbeat, HostUse, JobUse};

use super::world::World;
use crate::clock;

fn gpu(id: &str, utilization_ratio: f64, memory_used_bytes: u64) -> GpuUse {
    GpuUse {
        utilization_ratio,
        memory_used_bytes,
        power_watts: 300.0,
        last_xid: Some(79),
        ..GpuUse::unknown(id.parse().expect("an id"))
    }
}

/// A machine's heartbeat arrives, with these figures.
fn beats(world: &World, worker: &str, gpus: Vec<GpuUse>, attempts: Vec<JobUse>) {
    let worker: WorkerId = worker.parse().expect("a name");
    let beat = Heartbeat {
        worker: worker.clone(),
        session: "1".to_owned(),
        at_ms: 0,
        host: HostUse::default(),
        gpus,
        attempts,
        kept: None,
    };
    world.handle.view().beat(worker, clock::now(), beat);
}

async fn gpus(world: &World, who: &str) -> GpuList {
    let request = world.request("GET", "/v1/gpus");
    request.token(&world.token(who)).send().await.json()
}

async fn shown(world: &World, job: u64) -> Job {
    let request = world.request("GET", &format!("/v1/jobs/{job}"));
    request.token(&world.token("anna")).send().await.json()
}

#[tokio::test]
async fn gpus_show_who_holds_them_and_what_they_do() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let before = gpus(&world, "anna").await;
    assert_eq!(before.gpus.len(), 2);
    assert!(before.gpus.iter().all(|gpu| gpu.now.is_none()));
    assert_eq!(shown(&world, job).await.now, None);

    let busy = vec![
        gpu("GPU-gpu-1-0", 0.5, 10),
        gpu("GPU-gpu-1-1", 0.25, 20),
        gpu("GPU-of-nobody", 1.0, 1),
    ];
    let used = JobUse {
        attempt: world.attempt(job, 1),
        cpu_cores: 1.5,
        memory_bytes: 7,
        pids: 3,
        io: Io {
            sent_bytes: 9,
            ..Io::default()
        },
    };
    let another = JobUse {
        attempt: world.attempt(job, 2),
        memory_bytes: 1,
        ..used.clone()
    };
    beats(&world, "gpu-1", busy, vec![another, used]);

    let anna = gpus(&world, "anna").await.gpus;
    let states: Vec<_> = anna.iter().map(|gpu| gpu.state.as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "held").count(), 1);
    assert_eq!(states.iter().filter(|state| **state == "free").count(), 1);
    let held = anna.iter().find(|gpu| gpu.state == "held").expect("one");
    let [holder] = &held.holders[..] else {
        panic!("{held:?}");
    };
    assert_eq!(
        (holder.job, holder.user.as_deref()),
        (Some(job), Some("anna"))
    );
    let doing = held.now.as_ref().expect("told");
    assert_eq!(doing.last_xid, Some(79));

    let now = shown(&world, job).await.now.expect("told");
    assert_eq!((now.cpu_cores, now.memory_bytes), (1.5, 7));
    assert_eq!(now.gpu_utilization_ratio, Some(doing.utilization_ratio));
    assert_eq!(now.gpu_memory_used_bytes, Some(doing.memory_used_bytes));
    assert_eq!((now.processes, now.sent_bytes), (3, 9));

    // Hardware, and who holds it, is everybody's to see.
    let bert = gpus(&world, "bert").await.gpus;
    let held = bert.iter().find(|gpu| gpu.state == "held").expect("one");
    assert!(held.now.is_some());
    let [holder] = &held.holders[..] else {
        panic!("{held:?}");
    };
    assert_eq!(
        (holder.job, holder.user.as_deref()),
        (Some(job), Some("anna"))
    );

    world.finished(job, "gpu-1", 0).await;
    assert_eq!(shown(&world, job).await.now, None);
    let anna = gpus(&world, "anna").await.gpus;
    assert!(anna.iter().all(|gpu| gpu.holders.is_empty()), "{anna:?}");
}

#[tokio::test]
async fn metrics_sum_jobs_by_user_and_name_no_job() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let used = JobUse {
        attempt: world.attempt(job, 1),
        cpu_cores: 1.5,
        memory_bytes: 7,
        pids: 0,
        io: Io::default(),
    };
    let both = vec![gpu("GPU-gpu-1-0", 0.5, 1), gpu("GPU-gpu-1-1", 0.5, 1)];
    beats(&world, "gpu-1", both, vec![used]);
    let request = world.request("GET", "/metrics");
    let text = request.token(&world.token("olga")).send().await.text();
    for line in [
        "dopq_user_cpu_cores{user=\"anna\"} 1.5",
        "dopq_user_memory_bytes{user=\"anna\"} 7.0",
        "dopq_user_gpus_busy{user=\"anna\"} 0.5",
        "dopq_gpu_xid_errors_total{worker=\"gpu-1\",gpu=\"GPU-gpu-1-0\"} 0.0",
        "dopq_gpu_energy_joules_total{worker=\"gpu-1\",gpu=\"GPU-gpu-1-1\"} 0.0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
}

#[tokio::test]
async fn a_job_shows_what_its_attempts_used() {
    let world = World::new().await;
    let job = world.running_job("anna", "gpu-1").await;
    let mut meter = Meter::new(Timestamp::from_millis(0), 1000);
    for (at, busy) in [(2000, 1000), (4000, 500), (20_000, 0)] {
        let sample = PerFigure {
            gpu_milli: busy,
            cpu_milli: 1500,
            memory_bytes: 2 * busy,
            ..PerFigure::default()
        };
        let at = Timestamp::from_millis(at);
        meter.add(at, &sample, 100_000, Io::default());
    }
    let measured = meter.measured(9).expect("time was covered");
    let measured = Progress::Measured(Box::new(measured));
    world.reported(job, 1, "gpu-1", measured).await;
    world.finished(job, "gpu-1", 0).await;
    let shown = shown(&world, job).await;
    let [used] = &shown.used[..] else {
        panic!("{:?}", shown.used);
    };
    assert_eq!(
        (used.attempt, used.seconds, used.covered_seconds),
        (1, 20.0, 14.0)
    );
    let busy = used.gpu_utilization_ratio.expect("a GPU");
    assert_eq!((busy.mean, busy.peak), (0.214, 1.0));
    assert_eq!((used.cpu_cores.mean, used.cpu_cores.peak), (1.5, 1.5));
    assert_eq!((used.gpu_seconds, used.gpu_joules), (20.0, 300.0));
    let series = used.series.as_ref().expect("a series");
    assert_eq!(series.step_seconds, 2.0);
    let course = &series.gpu_utilization_ratio;
    assert_eq!(course.len(), 10);
    assert_eq!(course[..4], [Some(1.0), Some(0.5), None, None]);
    assert!(series.gpu_power_watts.is_empty());

    // As its other figures, it is everybody's to see.
    let request = world.request("GET", &format!("/v1/jobs/{job}"));
    let other: Job = request.token(&world.token("bert")).send().await.json();
    assert_eq!((other.used, other.bundle), (shown.used, None));
}
