//! Golden files of what travels, so that a master and a worker one version apart understand each other.

use super::{
    Order, OrderEnvelope, RunOrder, WIRE_VERSION, WireAllocation, WireBundle, WireGpuShare,
};

fn run(array: Option<(u64, u32)>) -> OrderEnvelope {
    OrderEnvelope {
        version: WIRE_VERSION,
        epoch: 3,
        attempt: "1423.2".to_owned(),
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

#[test]
fn orders_to_run_keep_their_form() {
    for (name, order) in [
        ("order-run", run(None)),
        ("order-run-task", run(Some((1415, 7)))),
    ] {
        let path = format!("{}/src/wire/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let written = serde_json::to_string_pretty(&order).expect("it is written") + "\n";
        if std::env::var_os("DOPQ_BLESS").is_some() {
            std::fs::write(&path, &written).expect("the golden file is written");
        }
        let stored = std::fs::read_to_string(&path).expect("there is a golden file");
        assert_eq!(written, stored, "{name}: the format changed");
        let read: OrderEnvelope = serde_json::from_str(&stored).expect("the golden file is read");
        assert_eq!(read, order);
    }
}

#[test]
fn an_order_of_a_master_without_arrays_is_read() {
    let mut order = serde_json::to_value(run(Some((1415, 7)))).expect("JSON");
    let fields = order["order"].as_object_mut().expect("an object");
    fields.remove("array_job");
    fields.remove("array_index");
    let read: OrderEnvelope = serde_json::from_value(order).expect("read");
    assert_eq!(read, run(None));
}
