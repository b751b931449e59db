//! Golden files of what travels, so that a master and a worker one version apart understand each other.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::id::{AttemptId, Digest, Epoch, JobId};
use crate::job::{BundleRef, Cause, LeftOut, Outcome, Results};
use crate::resources::{Allocation, ByteSize, GpuShare, MilliCpu, MilliGpu};
use crate::telemetry::Measured;

use super::{
    AttemptOrder, AttemptPhase, ExecRequest, NumberedReport, OpenSession, Order, OrderEnvelope,
    Report, ReportEnvelope, RunOrder, SessionId, SessionRequest, Upcoming, UpcomingRun,
    WIRE_VERSION, read_envelope,
};

fn run(array: Option<(u64, u32)>) -> AttemptOrder {
    AttemptOrder {
        attempt: id("1423.2"),
        order: Order::Run(Box::new(RunOrder {
            cluster: "default".to_owned(),
            user: "anna".parse().expect("name"),
            group: None,
            config: r#"{"executor_name":"anna","name":"train"}"#.to_owned(),
            bundle: Some(BundleRef {
                digest: Digest([0xab; 32]),
                size_bytes: 9,
            }),
            allocation: Allocation {
                gpus: vec![GpuShare {
                    id: "GPU-1".parse().expect("name"),
                    milli: MilliGpu(500),
                }],
                cpu: MilliCpu(2500),
                memory: ByteSize(ByteSize::GIB),
            },
            array_index: array.map(|(_, index)| index),
            array_job: array.map(|(job, _)| JobId(job)),
            token: "token".into(),
            data_urls: vec!["http://m:7070".to_owned()],
            results_max_bytes: array.map(|_| 1 << 30),
            checkpoint_max_bytes: array.map(|_| 1 << 31),
        })),
    }
}

fn results() -> Results {
    Results {
        files: 2,
        bytes: 300,
        left_out: 1,
        named: vec![LeftOut {
            path: "model.bin".to_owned(),
            reason: "too large".to_owned(),
        }],
        lost: None,
    }
}

/// Compares with the golden file of that name, and returns what is stored there.
fn golden(name: &str, written: &impl Serialize) -> String {
    let path = format!("{}/src/wire/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let written = serde_json::to_value(written).expect("JSON");
    let written = serde_json::to_string_pretty(&written).expect("JSON") + "\n";
    if std::env::var_os("DOPQ_BLESS").is_some() {
        std::fs::write(&path, &written).expect("the golden file is written");
    }
    let stored = std::fs::read_to_string(&path).expect("there is a golden file");
    assert_eq!(written, stored, "{name}: the format changed");
    stored
}

fn raw<T: Serialize>(items: &[T]) -> Vec<Box<RawValue>> {
    let items = items.iter();
    items
        .map(|item| to_raw_value(item).expect("JSON"))
        .collect()
}

#[test]
fn orders_keep_their_form() {
    let order = |attempt: &str, order| AttemptOrder {
        attempt: id(attempt),
        order,
    };
    let stop = Order::Stop {
        outcome: outcome(Cause::Cancelled),
        grace: Duration::from_millis(1500),
        insists: false,
    };
    let mut of_member = run(None);
    if let Order::Run(order) = &mut of_member.order {
        order.group = "vision".parse().ok();
    }
    for (name, orders) in [
        ("order-run", vec![run(None)]),
        ("order-run-member", vec![of_member]),
        ("order-run-task", vec![run(Some((1415, 7)))]),
        (
            "order-batch",
            vec![order("1423.2", Order::Forget), order("1424.1", stop)],
        ),
    ] {
        let envelope = OrderEnvelope {
            version: WIRE_VERSION,
            epoch: Epoch(3),
            orders: raw(&orders),
        };
        let stored = golden(name, &envelope);
        let read: OrderEnvelope = read_envelope(stored.as_bytes()).expect("read");
        assert_eq!(read.epoch, Epoch(3));
        let read: Vec<AttemptOrder> = read
            .orders
            .iter()
            .map(|order| serde_json::from_str(order.get()).expect("read"))
            .collect();
        assert_eq!(read, orders);
    }
}

#[test]
fn an_opening_of_a_session_keeps_its_form() {
    let open = OpenSession {
        version: WIRE_VERSION,
        id: SessionId([0xab; 16]),
        attempt: id("1423.2"),
        by: "anna".parse().expect("name"),
        request: SessionRequest::Exec(ExecRequest {
            command: vec!["sh".to_owned(), "-l".to_owned()],
            env: vec!["A=b".to_owned()],
            user: Some("1000:1000".to_owned()),
            workdir: Some("/workspace".to_owned()),
            privileged: false,
            tty: true,
            stdin: true,
            detach: false,
        }),
    };
    let stored = golden("open-session", &open);
    let read: OpenSession = read_envelope(stored.as_bytes()).expect("read");
    assert_eq!(read, open);
    let later = stored.replace("\"exec\"", "\"something_new\"");
    let later: OpenSession = read_envelope(later.as_bytes()).expect("read");
    assert_eq!(later.request, SessionRequest::Unknown);
}

#[test]
fn upcoming_attempts_keep_their_form() {
    let Order::Run(mut expected) = run(None).order else {
        panic!("an order to run");
    };
    expected.allocation = Allocation::default();
    let upcoming = Upcoming {
        version: WIRE_VERSION,
        epoch: Epoch(3),
        number: 7,
        runs: vec![UpcomingRun {
            attempt: id("1423.2"),
            run: *expected,
        }],
    };
    let stored = golden("upcoming", &upcoming);
    let read: Upcoming = read_envelope(stored.as_bytes()).expect("read");
    assert_eq!(read, upcoming);
}

#[test]
fn reports_keep_their_form() {
    let attempt = || id("1423.2");
    let reports = [
        Report::Accepted { attempt: attempt() },
        Report::Refused {
            attempt: attempt(),
            reason: "the worker is draining".to_owned(),
        },
        Report::Entered {
            attempt: attempt(),
            phase: AttemptPhase::Running,
            note: String::new(),
        },
        Report::Finished {
            attempt: attempt(),
            outcome: outcome(Cause::Succeeded),
            ran_ms: 1500,
            log_bytes: 9,
            results: None,
        },
        Report::Finished {
            attempt: attempt(),
            outcome: outcome(Cause::Succeeded),
            ran_ms: 1500,
            log_bytes: 9,
            results: Some(results()),
        },
        Report::Measured {
            attempt: attempt(),
            measured: Box::new(Measured {
                attempt: 2,
                span_ms: 2000,
                covered_ms: 2000,
                ..Measured::default()
            }),
        },
        Report::Goodbye,
    ];
    let reports: Vec<_> = (41..)
        .zip(reports)
        .map(|(seq, report)| NumberedReport {
            seq,
            at_ms: 1_767_225_600_000,
            report,
        })
        .collect();
    let envelope = ReportEnvelope {
        version: WIRE_VERSION,
        worker: "gpu-01".parse().expect("name"),
        reports: raw(&reports),
    };
    let stored = golden("report-batch", &envelope);
    let read: ReportEnvelope = read_envelope(stored.as_bytes()).expect("read");
    let read = read.reports.iter();
    let read: Vec<NumberedReport> = read
        .map(|report| serde_json::from_str(report.get()).expect("read"))
        .collect();
    assert_eq!(read, reports);
}

fn outcome(cause: Cause) -> Outcome {
    Outcome {
        exit_code: Some(0),
        ..Outcome::new(cause, "")
    }
}

fn id(text: &str) -> AttemptId {
    let text = format!("{text}-00112233445566778899aabbccddeeff");
    text.parse().expect("attempt")
}

#[test]
fn an_order_of_a_master_without_arrays_is_read() {
    let mut order = serde_json::to_value(run(Some((1415, 7)))).expect("JSON");
    let fields = order["order"].as_object_mut().expect("an object");
    fields.remove("array_job");
    fields.remove("array_index");
    fields.remove("results_max_bytes");
    fields.remove("checkpoint_max_bytes");
    let read: AttemptOrder = serde_json::from_value(order).expect("read");
    assert_eq!(read, run(None));
}
