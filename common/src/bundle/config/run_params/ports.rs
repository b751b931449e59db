//! `ports`: which ports of the container are published. On which ports of the machine is left to the machine.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::shape::{self, Read, wrong};
use crate::bundle::fault::quote;
use crate::job::Port;

/// The most ports of one job.
const MOST: usize = 32;

/// An object whose names are the container's ports, such as `8888` or `53/udp`. The values are docker-py's: a port of the
/// machine, with or without an address, several of them, or null.
pub(super) fn read(value: &Value) -> Read<BTreeSet<Port>> {
    let Value::Object(map) = value else {
        return shape::mismatch("an object such as {\"8888/tcp\": null}", value);
    };
    if map.len() > MOST {
        return wrong(format!("a job can publish at most {MOST} ports"));
    }
    let ports = map.iter().map(|(name, value)| {
        let read = port(name).and_then(|port| machines(value).map(|()| port));
        (format!(".{}", quote(name)), read)
    });
    Ok(shape::each(ports)?.into_iter().collect())
}

/// Whether a port of the machine is asked for.
pub(super) fn choose(value: &Value) -> bool {
    let ports = value.as_object().into_iter().flat_map(|map| map.values());
    ports.into_iter().any(|value| !value.is_null())
}

fn port(text: &str) -> Read<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return wrong("the protocol must be tcp or udp"),
    };
    match number.parse() {
        Ok(number) if number > 0 => Ok(Port { number, is_udp }),
        Ok(_) | Err(_) => wrong("the name must be a port such as 8888, 8888/tcp or 53/udp"),
    }
}

fn machines(value: &Value) -> Read<()> {
    match value {
        Value::Null => Ok(()),
        Value::Number(_) => shape::whole(value, 0, 65_535).map(drop),
        Value::String(_) => shape::line(value).map(drop),
        Value::Array(_) => shape::list(value, machines).map(drop),
        Value::Bool(_) | Value::Object(_) => {
            shape::mismatch("a port of the machine, or null", value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::config::{notes, parse};

    fn document(fields: &Value) -> String {
        let mut document = json!({"name": "train", "executor_name": "anna"});
        for (name, value) in fields.as_object().expect("an object") {
            document[name] = value.clone();
        }
        document.to_string()
    }

    #[test]
    fn ports_are_read_as_docker_py_reads_them() {
        let found = read(&json!({
            "8888/tcp": null, "6006": 6006, "53/udp": ["127.0.0.1", 53], "80": [80, "8080"]
        }));
        let shown: Vec<_> = found.expect("sound").iter().map(Port::to_string).collect();
        assert_eq!(shown, ["53/udp", "80/tcp", "6006/tcp", "8888/tcp"]);
        let many: serde_json::Map<_, _> = (1..=33)
            .map(|number| (number.to_string(), json!(null)))
            .collect();
        for bad in [
            json!([8888]),
            json!({"0": null}),
            json!({"65536": null}),
            json!({"80/sctp": null}),
            json!({"http": null}),
            json!({"80": true}),
            json!({"80": 65_536}),
            json!(many),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_chosen_port_of_the_machine_is_told_to_be_another() {
        let told = |ports: Value| notes(&document(&json!({"run_params": {"ports": ports}})));
        assert_eq!(told(json!({"80": null})), [""; 0]);
        let [note] = &told(json!({"80": 8080}))[..] else {
            panic!("one note");
        };
        assert!(note.contains("`dopq show` tells"), "{note}");
    }

    #[test]
    fn ports_need_a_network() {
        let ports = json!({"ports": {"80": null}});
        for network in ["none", "host"] {
            let fields = json!({"network": network, "run_params": ports});
            let faults = parse(&document(&fields)).expect_err(network);
            assert_eq!(faults[0].place, "run_params.ports");
        }
        let spec = parse(&document(&json!({"run_params": ports}))).expect("valid");
        assert_eq!(spec.container.ports.len(), 1);
    }
}
