//! Golden files of what travels, so that a master and a worker one version apart understand each other.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    AttemptOrder, AttemptPhase, NumberedReport, Order, OrderEnvelope, Report, ReportEnvelope,
    RunOrder, WIRE_VERSION, WireAllocation, WireBundle, WireGpuShare, WireOutcome, read_envelope,
};

fn attempt(id: &str) -> String {
    format!("{id}-00112233445566778899aabbccddeeff")
}

fn run(array: Option<(u64, u32)>) -> AttemptOrder {
    AttemptOrder {
        attempt: attempt("1423.2"),
        order: Order::Run(Box::new(RunOrder {
            cluster: "default".to_owned(),
            user: "anna".to_owned(),
            config: r#"{"executor_name":"anna","name":"train"}"#.to_owned(),
            bundle: Some(WireBundle {
                digest: "ab".repeat(32),
                size_bytes: 9,
            }),
            allocation: WireAllocation {
                gpus: vec![WireGpuShare {
                    id: "GPU-1".to_owned(),
                    milli: 500,
                }],
                cpu_milli: 2500,
                memory_bytes: 1 << 30,
            },
            array_index: array.map(|(_, index)| index),
            array_job: array.map(|(job, _)| job),
            token: "token".to_owned(),
            data_urls: vec!["http://m:7070".to_owned()],
        })),
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
    let order = |id: &str, order| AttemptOrder {
        attempt: attempt(id),
        order,
    };
    let stop = Order::Stop {
        outcome: outcome("cancelled"),
        grace_ms: 1500,
    };
    for (name, orders) in [
        ("order-run", vec![run(None)]),
        ("order-run-task", vec![run(Some((1415, 7)))]),
        (
            "order-batch",
            vec![order("1423.2", Order::Forget), order("1424.1", stop)],
        ),
    ] {
        let envelope = OrderEnvelope {
            version: WIRE_VERSION,
            epoch: 3,
            orders: raw(&orders),
        };
        let stored = golden(name, &envelope);
        let read: OrderEnvelope = read_envelope(stored.as_bytes()).expect("read");
        assert_eq!(read.epoch, 3);
        let read: Vec<AttemptOrder> = read
            .orders
            .iter()
            .map(|order| serde_json::from_str(order.get()).expect("read"))
            .collect();
        assert_eq!(read, orders);
    }
}

#[test]
fn reports_keep_their_form() {
    let attempt = || attempt("1423.2");
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
            outcome: outcome("succeeded"),
            ran_ms: 1500,
            log_bytes: 9,
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
        worker: "gpu-01".to_owned(),
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

fn outcome(cause: &str) -> WireOutcome {
    WireOutcome {
        cause: cause.to_owned(),
        by: None,
        exit_code: Some(0),
        detail: String::new(),
    }
}

#[test]
fn an_order_of_a_master_without_arrays_is_read() {
    let mut order = serde_json::to_value(run(Some((1415, 7)))).expect("JSON");
    let fields = order["order"].as_object_mut().expect("an object");
    fields.remove("array_job");
    fields.remove("array_index");
    let read: AttemptOrder = serde_json::from_value(order).expect("read");
    assert_eq!(read, run(None));
}
