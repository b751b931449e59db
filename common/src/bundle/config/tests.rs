//! Tables over whole documents: what DoPQ 1.0's users wrote, every field, every refusal.

use std::time::Duration;

use serde_json::{Value, json};

use super::parse;
use crate::id::JobId;
use crate::job::{
    Artifacts, Class, Dependency, DependencyKind, ImageSource, JobSpec, Network, OnWorkerLoss,
};
use crate::resources::{ByteSize, GpuAmount, MilliCpu, MilliGpu};

/// A valid document with `fields` over it.
fn document(fields: &Value) -> String {
    let mut map = json!({"name": "train", "executor_name": "anna"});
    for (key, value) in fields.as_object().expect("an object") {
        map[key] = value.clone();
    }
    map.to_string()
}

fn spec(fields: Value) -> JobSpec {
    parse(&document(&fields)).unwrap_or_else(|faults| panic!("{fields}: {faults:?}"))
}

fn faults(fields: &Value) -> Vec<(&'static str, String)> {
    let faults = parse(&document(fields)).expect_err(&fields.to_string());
    faults.into_iter().map(|f| (f.rule, f.place)).collect()
}

#[test]
fn a_document_of_dopq_1_0_works_unchanged() {
    let text = r#"{
        "name": "mnist_baseline",
        "executor_name": "ilja.manakov",
        "required_memory": "20g",
        "num_gpus": 2,
        "num_slots": 1,
        "build_flag": true,
        "run_params": {
            "command": "python train.py --name 'run one'",
            "entrypoint": ["/usr/bin/env"],
            "environment": {"LR": 0.1, "EPOCHS": 20, "DEBUG": true, "NAME": "x=y"},
            "working_dir": "/workspace",
            "user": 1000,
            "hostname": "train-1",
            "domainname": "lab.example",
            "labels": ["team", "stage=dev"],
            "ulimits": [{"name": "memlock", "soft": -1, "hard": -1}, {"Name": "stack", "Soft": 67108864, "Hard": 67108864}],
            "shm_size": "8G",
            "stop_signal": "SIGINT",
            "init": true,
            "tty": true,
            "stdin_open": false,
            "read_only": false,
            "tmpfs": {"/scratch": "size=1g,mode=1777", "/run": ""},
            "network_mode": "none",
            "mem_swappiness": 0,
            "cpu_shares": 512,
            "nano_cpus": 2500000000,
            "cpuset_cpus": "0-3,8",
            "healthcheck": {"test": ["CMD", "true"], "interval": 30000000000, "timeout": 1000000, "retries": 3, "start_period": 0},
            "group_add": ["video", 44],
            "dns": ["192.0.2.1", "2001:DB8::1"],
            "extra_hosts": {"data": "192.0.2.7"},
            "sysctls": {"net.core.somaxconn": 1024}
        }
    }"#;
    let spec = parse(text).expect("valid");
    assert_eq!(spec.executor.as_str(), "ilja.manakov");
    assert_eq!(spec.image, ImageSource::Build);
    assert_eq!(spec.request.gpus, 2);
    assert_eq!(spec.request.gpu_amount, GpuAmount::Slots(1));
    assert_eq!(spec.request.memory, Some(ByteSize(20 << 30)));
    assert_eq!(spec.request.cpu, Some(MilliCpu(2500)));
    let container = spec.container;
    assert_eq!(
        container.command.expect("set"),
        ["python", "train.py", "--name", "run one"]
    );
    let env: Vec<_> = container
        .env
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(env, ["DEBUG=True", "EPOCHS=20", "LR=0.1", "NAME=x=y"]);
    assert_eq!(container.labels["team"], "");
    assert_eq!(container.labels["stage"], "dev");
    assert_eq!(
        (container.ulimits[0].soft, container.ulimits[1].hard),
        (-1, 67_108_864)
    );
    assert_eq!(container.shm_size, ByteSize(8 << 30));
    assert_eq!(container.network, Network::None);
    assert_eq!(container.cpu_limit, Some(MilliCpu(2500)));
    assert_eq!(container.user.as_deref(), Some("1000"));
    assert_eq!(container.group_add, ["video", "44"]);
    assert_eq!(container.dns, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(container.extra_hosts["data"], "192.0.2.7");
    assert_eq!(container.sysctls["net.core.somaxconn"], "1024");
    let health = container.healthcheck.expect("set");
    assert_eq!(health.interval, Some(Duration::from_secs(30)));
    assert_eq!(health.timeout, Some(Duration::from_millis(1)));
    assert_eq!(health.start_period, None);
}

#[test]
fn what_is_left_out_has_dopq_1_0_s_defaults() {
    let spec = spec(json!({"run_params": null, "required_memory": null}));
    assert_eq!(
        (spec.request.gpus, spec.request.gpu_amount),
        (1, GpuAmount::Slots(1))
    );
    assert_eq!(spec.image, ImageSource::Build);
    assert_eq!(spec.container.shm_size, ByteSize(1 << 30));
    assert!(spec.container.init);
    assert_eq!(spec.grace, Duration::from_secs(10));
    assert_eq!(spec.request.memory, None);
}

#[test]
fn bare_memory_is_gib_and_shapes_vary() {
    for (memory, bytes) in [
        (json!(20), 20_u64 << 30),
        (json!(1.5), 3 << 29),
        (json!("20"), 20 << 30),
        (json!("512m"), 512 << 20),
    ] {
        assert_eq!(
            spec(json!({"required_memory": memory})).request.memory,
            Some(ByteSize(bytes)),
        );
    }
    assert_eq!(
        spec(json!({"run_params": {"shm_size": 67_108_864}}))
            .container
            .shm_size,
        ByteSize(64 << 20)
    );
    let listed = spec(json!({"run_params": {
        "environment": ["B=1", "A=2=3"],
        "extra_hosts": ["a:::1", "b:10.0.0.1"],
        "healthcheck": {"Test": "curl -f localhost", "Interval": 5_000_000_000_i64},
        "command": ["a b", 7]
    }}));
    assert_eq!(listed.container.env[0], ("B".to_owned(), "1".to_owned()));
    assert_eq!(listed.container.env[1], ("A".to_owned(), "2=3".to_owned()));
    assert_eq!(listed.container.extra_hosts["a"], "::1");
    assert_eq!(listed.container.command.expect("set"), ["a b", "7"]);
    let health = listed.container.healthcheck.expect("set");
    assert_eq!(health.test, ["CMD-SHELL", "curl -f localhost"]);
}

#[test]
fn the_newer_fields_are_read() {
    let spec = spec(json!({
        "image": "python:3.12", "command": "python -V", "env": {"A": "new"},
        "run_params": {"environment": {"A": "old", "B": "kept"}, "network_mode": "bridge"},
        "cpus": 1.5, "num_gpus": 3, "gpu_share": 0.25, "gpu_model": ["H100", "A100"], "gpu_memory": "40g",
        "labels": {"room": "2"}, "class": "nice", "priority": -3, "time_limit": "2h30m",
        "time_request": 60, "retries": 2, "after": [12, "13:any", "14:ok"], "array": "0-99%8",
        "preemptible": true, "grace": "90s", "artifacts": "success", "on_worker_loss": "fail",
        "strict_once": true, "network": "none", "shm_size": "2g", "secrets": ["wandb"]
    }));
    assert_eq!(spec.image, ImageSource::Named("python:3.12".to_owned()));
    assert_eq!(spec.container.command.expect("set"), ["python", "-V"]);
    assert_eq!(spec.container.env.len(), 2);
    assert!(
        spec.container
            .env
            .contains(&("A".to_owned(), "new".to_owned()))
    );
    assert_eq!(spec.container.network, Network::None);
    assert_eq!(spec.container.shm_size, ByteSize(2 << 30));
    assert_eq!(spec.request.cpu, Some(MilliCpu(1500)));
    assert_eq!(spec.request.gpu_amount, GpuAmount::Milli(MilliGpu(250)));
    assert_eq!(spec.request.gpu_models, ["H100", "A100"]);
    assert_eq!(spec.request.gpu_memory, Some(ByteSize(40 << 30)));
    assert_eq!(spec.request.labels["room"], "2");
    assert_eq!(
        (spec.class, spec.priority, spec.retries),
        (Class::Nice, -3, 2)
    );
    assert_eq!(spec.time_limit, Some(Duration::from_secs(9000)));
    let dependency = |job, kind| Dependency {
        job: JobId(job),
        kind,
    };
    assert_eq!(
        spec.after,
        [
            dependency(12, DependencyKind::Ok),
            dependency(13, DependencyKind::Any),
            dependency(14, DependencyKind::Ok)
        ]
    );
    let array = spec.array.expect("set");
    assert_eq!(
        (array.indexes.to_string().as_str(), array.max_running),
        ("0-99", Some(8))
    );
    assert_eq!(spec.grace, Duration::from_secs(90));
    assert_eq!(spec.artifacts, Artifacts::Success);
    assert_eq!(spec.on_worker_loss, OnWorkerLoss::Fail);
    assert!(spec.preemptible && spec.strict_once);
    assert_eq!(spec.secrets, ["wandb"]);
}

#[test]
fn every_wrong_value_is_refused_at_its_field() {
    for (field, values) in [
        (
            "name",
            json!(["", "ab", 7, "a\nb", "a\u{202e}bc", "x".repeat(129)]),
        ),
        ("executor_name", json!(["", "ab", "../etc", "a b c", 7])),
        (
            "required_memory",
            json!([0, -1, "20x", "1m", true, "1e30g", 1e300]),
        ),
        ("num_gpus", json!([-1, 1.5, "2", 99_999])),
        ("num_slots", json!([0, 1.5])),
        ("gpu_share", json!([0, 1.01, -0.5, "half"])),
        ("cpus", json!([0, -1, 1e9])),
        ("build_flag", json!(["true", 1])),
        ("image", json!(["", "a b", "-v", "a;b"])),
        ("class", json!(["fast", 1])),
        ("priority", json!([1001, 0.5])),
        ("time_limit", json!([0, "soon", -5, "0s"])),
        ("grace", json!(["2h"])),
        (
            "after",
            json!([[0], ["12:done"], [12, "12:any"], {"a": 1}, "x"]),
        ),
        (
            "array",
            json!([
                "5-2", "0-9%0", "a-b", "0-100000", "", 7, "+1-2", "0-9%", "0-9%-1"
            ]),
        ),
        (
            "sweep",
            json!([
                "A=1", [], {}, ["A"], ["A="], ["=1"], ["A=1,,2"], ["A=5..1"], ["A=0.1..0.5"], ["A=1..100001"],
                ["A=1", "A=2"], [7], {"A": 1}, {"A": []}, {"A": [null]}, {"A": {}}, {"DOPQ_JOB_ID": "1"},
                ["NVIDIA_VISIBLE_DEVICES=0,1"], ["A=1..1000", "B=1..1000"]
            ]),
        ),
        ("max_fails", json!([-1, 0.5, "1", 100_001])),
        ("artifacts", json!(["sometimes"])),
        ("on_worker_loss", json!(["cry"])),
        ("network", json!(["container:x", "lan"])),
        ("secrets", json!(["wandb", ["../x"]])),
        ("run_params", json!(["--privileged", []])),
        (
            "env",
            json!(["A", ["A"], {"A": null}, {"": "x"}, {"A": {}}, ["A=1", "A=2"], {"DOPQ_JOB_ID": "1"}]),
        ),
    ] {
        for value in values.as_array().expect("a list") {
            let found = faults(&json!({ (field): value }));
            assert!(
                !found.is_empty()
                    && found.iter().all(|(rule, place)| *rule == "config_value"
                        && place.split(['.', '[']).next() == Some(field)),
                "{field}: {value}: {found:?}"
            );
        }
    }
}

#[test]
fn every_wrong_run_parameter_is_refused_at_its_place() {
    for (name, values) in [
        ("command", json!(["a 'b", 7, {"a": 1}])),
        (
            "working_dir",
            json!(["work", "/a/../b", "/proc/self/fd/8", "//proc", "/sys"]),
        ),
        ("user", json!(["-x", "a:b:c", "", "a b"])),
        ("hostname", json!(["a_b c", "-a", "a..b", "x".repeat(64)])),
        ("labels", json!([{"dopq.job": "1"}, ["DoPQ.job=1"], "a"])),
        (
            "ulimits",
            json!([[{"name": "rtprio", "soft": 1, "hard": 1}], [{"soft": 1}], [{"name": "nofile", "hard": -1}],
            [{"name": "core", "soft": 2, "hard": 1}], [{"name": "core", "weak": 1}], {"name": "core"}]),
        ),
        ("shm_size", json!([0, "x"])),
        ("stop_signal", json!(["SIGKILL", 9, 65, "19", "SIGSTOP"])),
        ("init", json!([1])),
        (
            "tmpfs",
            json!([{"/": ""}, {"/outdir": ""}, {"/dev/shm": ""}, {"/a": "suid"}, {"/a": "size="}, ["/a"], {"a": ""}]),
        ),
        ("network_mode", json!(["host", "container:abc", "default"])),
        ("mem_swappiness", json!([101, -1])),
        ("cpu_shares", json!([-1, "much"])),
        ("detach", json!([1, "yes"])),
        ("mem_limit", json!(["1k", 0])),
        (
            "restart_policy",
            json!([{"Name": "always"}, {"Name": "unless-stopped"}, {"Name": "on-failure"}, {"Name": "no", "x": 1}, "no"]),
        ),
        ("nano_cpus", json!([1, 0, 1.5])),
        ("cpuset_cpus", json!(["3-1", "a", "", "0,,1"])),
        (
            "healthcheck",
            json!([{"interval": 1}, {"test": "a", "interval": 5}, {"test": ["RUN", "a"]}, {"test": "a", "x": 1}, "a"]),
        ),
        ("group_add", json!([["a:b"], "video"])),
        ("dns", json!([["dns.example"], "1.1.1.1"])),
        (
            "extra_hosts",
            json!([{"a": "host-gateway"}, ["a"], {"a b": "1.1.1.1"}]),
        ),
        (
            "sysctls",
            json!([{"kernel.core_pattern": "|x"}, {"net.core.somaxconn": "a"}, {"vm.overcommit_memory": 1}]),
        ),
        (
            "environment",
            json!([{"DOPQ_ID": "1"}, ["A"], {"LR ": 1}, {"1A": 3}]),
        ),
    ] {
        for value in values.as_array().expect("a list") {
            let found = faults(&json!({"run_params": { (name): value }}));
            let field = format!("run_params.{name}");
            assert!(
                !found.is_empty()
                    && found
                        .iter()
                        .all(|(rule, place)| *rule == "config_value" && place.starts_with(&field)),
                "{name}: {value}: {found:?}"
            );
        }
    }
}

#[test]
fn parameters_that_could_break_out_are_refused_by_name() {
    for name in [
        "privileged",
        "volumes",
        "volumes_from",
        "mounts",
        "devices",
        "device_requests",
        "device_cgroup_rules",
        "cap_add",
        "security_opt",
        "runtime",
        "pid_mode",
        "ipc_mode",
        "uts_mode",
        "userns_mode",
        "cgroupns",
        "cgroup_parent",
        "mac_address",
        "publish_all_ports",
        "network",
        "links",
        "pids_limit",
        "oom_kill_disable",
        "name",
        "image",
    ] {
        let found = faults(&json!({"run_params": { (name): true }}));
        assert_eq!(found, [("run_param_refused", format!("run_params.{name}"))]);
    }
    let found = faults(&json!({"run_params": {"comand": "a"}}));
    assert_eq!(
        found,
        [("run_param_unknown", "run_params.comand".to_owned())]
    );
}

#[test]
fn parameters_that_ask_for_nothing_are_accepted() {
    let run_params = json!({
        "privileged": false, "cap_add": [], "ports": {}, "volumes": null, "mounts": [], "runtime": "",
        "publish_all_ports": false, "restart_policy": {"Name": "no"}, "detach": false,
    });
    let plain = spec(json!({}));
    assert_eq!(spec(json!({"run_params": run_params})), plain);
}

#[test]
fn what_dopq_1_0_took_works_or_has_no_effect_and_says_so() {
    let fields = json!({"run_params": {
        "detach": true, "remove": true, "auto_remove": true, "cpu_shares": 262_144, "mem_limit": "2g",
        "restart_policy": {"Name": "on-failure", "MaximumRetryCount": 4}, "stdout": true, "version": "1.41",
        "cap_drop": ["ALL"], "log_config": {"Type": "json-file"}, "network_disabled": true,
    }});
    let found = spec(fields.clone());
    assert_eq!(found.request.memory, Some(ByteSize(2 << 30)));
    assert_eq!((found.retries, found.container.network), (4, Network::None));
    let notes = super::notes(&document(&fields));
    assert_eq!(notes.len(), 8, "{notes:?}");
    assert!(
        notes[5].starts_with("run_params.remove has no effect: DoPQ removes"),
        "{notes:?}"
    );
    assert_eq!(
        super::notes(&document(&json!({"run_params": {"detach": false}}))),
        [""; 0]
    );
    // The newer fields win.
    let found =
        spec(json!({"required_memory": "1g", "retries": 0, "run_params": fields["run_params"]}));
    assert_eq!(
        (found.request.memory, found.retries),
        (Some(ByteSize(1 << 30)), 0)
    );
}

#[test]
fn new_jobs_meet_rules_that_stored_ones_need_not() {
    for (run_params, place) in [
        (
            json!({"healthcheck": {"test": "true", "interval": 1_000_000_000}}),
            "run_params.healthcheck.interval",
        ),
        (
            json!({"labels": {"com.docker.compose.project": "x"}}),
            "run_params.labels.com.docker.compose.project",
        ),
        (
            json!({"labels": ["traefik.enable=true"]}),
            "run_params.labels.traefik.enable",
        ),
        (
            json!({"labels": ["autoheal=true"]}),
            "run_params.labels.autoheal",
        ),
    ] {
        let text = document(&json!({"run_params": run_params}));
        assert!(parse(&text).is_ok(), "{text}");
        for refused in [
            super::accept(&text).map(drop),
            super::merge(&text, &Default::default()).map(drop),
        ] {
            let faults = refused.expect_err(&text);
            assert_eq!((faults.len(), faults[0].place.as_str()), (1, place));
        }
    }
    let labels = json!({"team": "a", "org.opencontainers.image.title": "b"});
    let health = json!({"test": "true", "interval": 5_000_000_000_i64});
    let fields = json!({"run_params": {"labels": labels, "healthcheck": health}});
    assert!(super::accept(&document(&fields)).is_ok());
}

#[test]
fn unknown_fields_offer_the_nearest_known_one() {
    for (field, hint) in [
        ("num_gpu", "did you mean `num_gpus`?"),
        ("requred_memory", "did you mean `required_memory`?"),
        ("Priority", "did you mean `priority`?"),
        ("working_dir", "move it into `run_params`"),
        ("zzz", "unknown field"),
    ] {
        let faults = parse(&document(&json!({ (field): 1 }))).expect_err(field);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].message.contains(hint), "{:?}", faults[0]);
        assert_eq!(
            (faults[0].rule, faults[0].place.as_str()),
            ("config_unknown_field", field)
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text =
        r#"{"name": "x", "num_gpus": -1, "foo": 1, "run_params": {"privileged": true, "tty": 1}}"#;
    let faults = parse(text).expect_err("invalid");
    let rules: Vec<_> = faults.iter().map(|f| f.rule).collect();
    assert_eq!(
        rules,
        [
            "config_value",
            "config_required",
            "config_value",
            "run_param_refused",
            "config_value",
            "config_unknown_field"
        ],
        "{faults:#?}"
    );
}

#[test]
fn fields_that_exclude_each_other_are_told() {
    for fields in [
        json!({"image": "a", "build_flag": true}),
        json!({"gpu_share": 0.5, "num_slots": 1}),
        json!({"max_fails": 1}),
        json!({"sweep": ["A=1..3"], "array": "1-3"}),
    ] {
        assert_eq!(faults(&fields)[0].0, "config_conflict", "{fields}");
    }
}

#[test]
fn a_sweep_makes_an_array_of_all_or_some_of_its_combinations() {
    for (fields, indexes, most, last) in [
        (
            json!({"sweep": ["lr=0.1,0.01", "seed=1..5"]}),
            "0-9",
            None,
            [("lr", "0.01"), ("seed", "5")],
        ),
        (
            json!({"sweep": ["lr=0.1,0.01", "seed=1..5"], "array": "0-9%2", "max_fails": 3}),
            "0-9",
            Some(2),
            [("lr", "0.01"), ("seed", "5")],
        ),
        (
            json!({"sweep": {"seed": [1, "b,c"], "lr": "0.1,0.01"}, "array": "1,3"}),
            "1,3",
            None,
            [("lr", "0.01"), ("seed", "b,c")],
        ),
    ] {
        let spec = spec(fields.clone());
        let array = spec.array.expect("a sweep is an array");
        assert_eq!(array.indexes.to_string(), indexes, "{fields}");
        assert_eq!(array.max_running, most, "{fields}");
        let last_index = array.indexes.last().expect("not empty");
        let sweep = spec.sweep.expect("set");
        let values = sweep.values(last_index);
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!(values, last, "{fields}");
        let max_fails = fields.get("max_fails").map(|_| 3);
        assert_eq!(spec.max_fails, max_fails, "{fields}");
    }
    let spec = spec(json!({"array": "0-9", "max_fails": 0}));
    assert_eq!((spec.max_fails, spec.sweep), (Some(0), None));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        drop(parse(&text));
    }

    #[test]
    fn no_value_makes_it_panic(field in "(name|after|array|sweep|max_fails|required_memory|env|time_limit|gpu_share|run_params)",
                               value in "[0-9.eE:%gms,\"{}\\[\\]-]{0,24}") {
        drop(parse(&format!("{{\"{field}\":{value}}}")));
        drop(parse(&document(&json!({ (field): value }))));
    }
}

#[test]
fn build_arguments_are_few_and_do_not_set_up_the_builder() {
    let spec = spec(json!({"build_args": {"CUDA": 12.4, "_x": ""}}));
    let args: Vec<_> = spec
        .build_args
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    assert_eq!(args, ["CUDA=12.4", "_x="]);
    let many: serde_json::Map<_, _> = (0..101).map(|n| (format!("A{n}"), json!(1))).collect();
    for args in [
        json!({"BUILDKIT_SYNTAX": "x"}),
        json!({"buildkit_cache_mount_ns": "x"}),
        json!({"a-b": "x"}),
        json!({"1": "x"}),
        json!({"": "x"}),
        json!({"A": "x".repeat(16 * 1024)}),
        json!(many),
        json!({"A": {}}),
    ] {
        let rules: Vec<_> = faults(&json!({"build_args": args}))
            .into_iter()
            .map(|f| f.0)
            .collect();
        assert_eq!(rules, ["config_value"], "{args}");
    }
}
