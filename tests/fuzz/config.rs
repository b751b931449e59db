//! `container_config.json` and a client's overrides.

use dopq_common::bundle::Fault;
use dopq_common::bundle::config;
use serde_json::{Map, Value};

use crate::dice::Dice;
use crate::run::Target;

/// The most faults of one document that anybody is told, and the one that counts the others.
const FAULTS_MAX: usize = 101;

#[test]
fn configurations() {
    let many = |item: &dyn Fn(usize) -> String, count: usize| {
        let items: Vec<String> = (0..count).map(item).collect();
        items.join(",")
    };
    let document = |fields: &str| {
        format!(r#"{{"name":"train","executor_name":"anna",{fields}}}"#).into_bytes()
    };
    let env = many(&|at| format!(r#""NAME{at}=value""#), 32_000);
    let deep = {
        let key = "k".repeat(200);
        let open = format!(r#"{{"{key}":"#).repeat(30);
        format!(
            r#""run_params":{open}[{}]{}"#,
            many(&|_| "0".to_owned(), 400_000),
            "}".repeat(30)
        )
    };
    Target {
        name: "config",
        test: "config::configurations",
        corpus: vec![
            document(r#""num_gpus":1"#),
            document(r#""array":"0-4294967295""#),
            document(&format!(
                r#""env":[{env}],"run_params":{{"environment":[{env}]}}"#
            )),
            document(&deep),
            document(&many(&|at| format!(r#""f{at}":0"#), 80_000)),
            document(&many(&|at| format!(r#""num_gpu{}":0"#, at % 10), 70_000)),
            document(&format!(
                r#""run_params":{{"sysctls":[{}]}}"#,
                many(&|at| format!(r#""k{at}=1""#), 90_000)
            )),
            document(&format!(r#""after":"{}""#, "1,".repeat(500_000))),
            document(&format!(r#""time_limit":"{}""#, "9".repeat(1_000_000))),
            "[".repeat(1 << 20).into_bytes(),
        ],
        generate,
        check,
        max_bytes: config::MAX_BYTES + 10,
    }
    .run();
}

const FIELDS: [&str; 32] = [
    "name",
    "executor_name",
    "image",
    "build_flag",
    "num_gpus",
    "num_slots",
    "gpu_share",
    "gpu_model",
    "gpu_memory",
    "cpus",
    "required_memory",
    "labels",
    "command",
    "env",
    "shm_size",
    "network",
    "time_limit",
    "time_request",
    "class",
    "artifacts",
    "on_worker_loss",
    "priority",
    "retries",
    "after",
    "array",
    "sweep",
    "max_fails",
    "grace",
    "secrets",
    "volumes",
    "outdir",
    "unknown",
];

const PARAMETERS: [&str; 29] = [
    "command",
    "cpu_shares",
    "cpuset_cpus",
    "dns",
    "domainname",
    "entrypoint",
    "environment",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "init",
    "labels",
    "mem_swappiness",
    "nano_cpus",
    "network_mode",
    "ports",
    "read_only",
    "shm_size",
    "stdin_open",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "working_dir",
    "privileged",
    "volumes",
];

const TEXTS: [&str; 24] = [
    "train",
    "anna",
    "busybox:1",
    "20g",
    "2h30m",
    "0-99%8",
    "1423:any",
    "A=1",
    "lr=0.1,0.01",
    "seed=1..5",
    "python 'a b' \"c\"",
    "/scratch",
    "size=1g,mode=1777",
    "net.core.somaxconn=1",
    "bridge",
    "urgent",
    "\u{202e}",
    "dopq.user=x",
    "DOPQ_X=1",
    "../..",
    "/proc/self",
    "\u{0}",
    "",
    "nofile",
];

fn generate(dice: &mut Dice) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("name".to_owned(), "train".into());
    map.insert("executor_name".to_owned(), "anna".into());
    for _ in 0..dice.length(12) {
        let field = dice.pick(&FIELDS).to_owned();
        map.insert(field, value(dice, 0));
    }
    if dice.one_in(2) {
        let count = dice.length(12);
        let parameters = (0..count).map(|_| (dice.pick(&PARAMETERS).to_owned(), value(dice, 0)));
        map.insert(
            "run_params".to_owned(),
            parameters.collect::<Map<_, _>>().into(),
        );
    }
    Value::Object(map).to_string().into_bytes()
}

fn value(dice: &mut Dice, depth: usize) -> Value {
    let deeper = if depth < 5 { 9 } else { 7 };
    match dice.below(deeper) {
        0 => Value::Null,
        1 => dice.one_in(2).into(),
        2 => serde_json::from_str(&dice.number()).unwrap_or(Value::Null),
        3 => dice.number().into(),
        4 => dice.pick(&TEXTS).repeat(dice.length(500)).into(),
        5 | 6 => dice.pick(&TEXTS).into(),
        7 => {
            let count = dice.length(2000);
            (0..count).map(|_| value(dice, depth + 2)).collect()
        }
        _ => {
            let count = dice.length(500);
            let entry = |dice: &mut Dice| {
                let key = match dice.below(3) {
                    0 => dice.number(),
                    1 => dice
                        .pick(&["name", "soft", "hard", "test", "interval"])
                        .to_owned(),
                    _ => dice.pick(&TEXTS).to_owned(),
                };
                (key, value(dice, depth + 2))
            };
            Value::Object((0..count).map(|_| entry(dice)).collect())
        }
    }
}

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match config::parse(&text) {
        Ok(spec) => {
            // What one reader accepts, every later one accepts, in the form in which it is stored.
            let merged = config::merge(&text, &Map::new());
            match merged {
                Ok(merged) => {
                    assert_eq!(config::parse(&merged), Ok(spec));
                    assert_eq!(config::merge(&merged, &Map::new()), Ok(merged));
                }
                Err(faults) => told(&faults),
            }
        }
        Err(faults) => told(&faults),
    }
    let overrides = Map::from_iter([("env".to_owned(), serde_json::json!({"A": 1}))]);
    if let Err(faults) = config::merge(&text, &overrides) {
        told(&faults);
    }
}

/// Faults are few and short, and nothing in them moves a cursor.
fn told(faults: &[Fault]) {
    assert!((1..=FAULTS_MAX).contains(&faults.len()));
    for fault in faults {
        let text = fault.to_string();
        assert!(text.len() < 100_000, "{} bytes", text.len());
        assert!(!text.contains(char::is_control), "{text}");
    }
}
