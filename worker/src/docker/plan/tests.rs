use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{CheckpointFolder, HostFolder};
use super::*;
use dopq_common::bundle::config;
use dopq_common::id::{Digest, JobId, JobKey};
use dopq_common::job::{JobSpec, Port};
use dopq_common::resources::{Allocation, GpuShare, MilliGpu};

const KEY: JobKey = JobKey([0xcd; 16]);

/// Words that mean something where they must not arrive.
const HOSTILE: &[&str] = &[
    "host",
    "container:victim",
    "/var/run/docker.sock",
    "/var/run/docker.sock:/sock",
    "//var//run/./docker.sock",
    "/",
    "/proc",
    "ALL",
    "SYS_ADMIN",
    "nvidia",
    "privileged",
    "seccomp=unconfined",
    "apparmor=unconfined",
    "json-file",
    "always",
    "all",
    "dopq.job",
    "dopq.worker",
    " DOPQ.attempt",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES=all",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "/proc/self/cwd/evil:/usr/lib",
    "DOPQ_JOB_ID",
    "DOPQ_ATTEMPT",
    "kernel.core_pattern",
    "\0",
    "",
];

fn spec(document: &Value) -> JobSpec {
    config::parse(&document.to_string()).expect("a sound document")
}

fn plain() -> JobSpec {
    spec(&json!({"name": "test", "executor_name": "anna"}))
}

fn gpus(count: usize) -> Allocation {
    let gpus = (0..count).map(|n| GpuShare {
        id: format!("GPU-{n}").parse().expect("an id"),
        milli: MilliGpu::WHOLE,
    });
    Allocation {
        gpus: gpus.collect(),
        cpu: MilliCpu(2500),
        memory: ByteSize(ByteSize::GIB),
    }
}

fn settings() -> RunSettings {
    RunSettings {
        worker: "node-1".parse().expect("a name"),
        bridge: Some("dopq".to_owned()),
        publish: None,
        allow_host_network: false,
        pids: 4096,
        gpu_access: GpuAccess::EnvironmentOnly,
        log_quota: ByteSize(ByteSize::GIB),
        imgdir: None,
    }
}

struct Case {
    spec: JobSpec,
    allocation: Allocation,
    image_env: Vec<String>,
    settings: RunSettings,
    checkpoint: Option<CheckpointFolder>,
    volumes: Vec<PlanMount>,
}

impl Case {
    fn of(spec: JobSpec) -> Self {
        Self {
            spec,
            allocation: gpus(0),
            image_env: Vec::new(),
            settings: settings(),
            checkpoint: None,
            volumes: Vec::new(),
        }
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        let input = PlanInput {
            spec: &self.spec,
            config: "{}",
            cluster: "default",
            attempt: AttemptId {
                job: JobId(1423),
                number: 2,
                key: KEY,
            },
            user: &"anna".parse().expect("a name"),
            digest: Some(Digest([0xab; 32])),
            array_index: Some(7),
            array_job: Some(JobId(1415)),
            allocation: &self.allocation,
            image: "sha256:1",
            image_env: &self.image_env,
            secrets: &[("TOKEN".to_owned(), "s".into())],
            outdir: None,
            checkpoint: self.checkpoint.clone(),
            volumes: &self.volumes,
        };
        plan(&input, &self.settings)
    }

    fn body(&self) -> Value {
        serde_json::to_value(self.plan().expect("allowed").to_body()).expect("JSON")
    }
}

fn env(body: &Value) -> Vec<(String, String)> {
    let lines = body["Env"].as_array().expect("a list");
    let split = |line: &Value| {
        let (name, value) = line
            .as_str()
            .expect("text")
            .split_once('=')
            .expect("a name");
        (name.to_owned(), value.to_owned())
    };
    lines.iter().map(split).collect()
}

/// What no input may set, whatever else it sets.
fn check_rules(body: &Value) {
    let host = &body["HostConfig"];
    for absent in [
        "Binds",
        "VolumesFrom",
        "CapAdd",
        "Devices",
        "DeviceCgroupRules",
        "PidMode",
        "UTSMode",
        "UsernsMode",
        "Cgroup",
        "CgroupParent",
        "Links",
        "PortBindings",
        "StorageOpt",
        "Isolation",
        "MaskedPaths",
        "ReadonlyPaths",
        "VolumeDriver",
        "ContainerIDFile",
        "OomScoreAdj",
        "Annotations",
        "CpuRealtimeRuntime",
        "BlkioWeight",
        "CpuPeriod",
        "CpuQuota",
    ] {
        assert!(host[absent].is_null(), "{absent}: {}", host[absent]);
    }
    for absent in [
        "Volumes",
        "ExposedPorts",
        "NetworkingConfig",
        "OnBuild",
        "Shell",
    ] {
        assert!(body[absent].is_null(), "{absent}: {}", body[absent]);
    }
    for off in [
        "Privileged",
        "AutoRemove",
        "PublishAllPorts",
        "OomKillDisable",
    ] {
        assert_eq!(host[off], json!(false), "{off}");
    }
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true"]));
    assert_eq!(host["IpcMode"], "private");
    assert_eq!(host["CgroupnsMode"], "private");
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["LogConfig"]["Type"], "local");
    assert_eq!(host["Memory"], json!(ByteSize::GIB));
    assert_eq!(host["MemorySwap"], host["Memory"]);
    assert_eq!(host["PidsLimit"], 4096);
    assert!(["none", "dopq"].contains(&host["NetworkMode"].as_str().expect("text")));
    assert_eq!(host["Mounts"], json!([]));
    assert_eq!(body["Image"], "sha256:1");

    let labels = body["Labels"].as_object().expect("an object");
    let own = labels
        .iter()
        .filter(|(name, _)| name.trim().to_lowercase().starts_with("dopq."));
    let own: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
    assert_eq!(own.len(), 8, "{own:?}");
    assert_eq!(labels[LABEL_JOB], "1423");
    assert_eq!(labels[LABEL_ATTEMPT], format!("1423.2-{KEY}"));
    assert_eq!(labels[LABEL_WORKER], "node-1");

    let env = env(body);
    let value = |wanted: &str| {
        let mut values = env.iter().filter(|(name, _)| name == wanted);
        let value = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{wanted} twice");
        value
    };
    assert_eq!(value("DOPQ_JOB_ID"), Some("1423"));
    assert_eq!(value("DOPQ_ATTEMPT"), Some("2"));
    assert_eq!(value("DOPQ_ARRAY_INDEX"), Some("7"));
    assert_eq!(value("DOPQ_ARRAY_JOB_ID"), Some("1415"));
    for emptied in ["LD_PRELOAD", "LD_AUDIT", "NVIDIA_MIG_CONFIG_DEVICES"] {
        assert!(value(emptied).unwrap_or_default().is_empty(), "{emptied}");
    }
    assert!(
        !value("LD_LIBRARY_PATH")
            .unwrap_or_default()
            .contains("/proc")
    );
}

#[test]
fn the_sweep_sets_a_task_s_values_over_the_job_s_own() {
    let wishes = json!({
        "name": "test", "executor_name": "anna", "env": {"seed": "0", "A": "kept"},
        "sweep": ["lr=0.1,0.01", "seed=1..5", "LD_PRELOAD=/evil.so"]
    });
    // The eighth of the ten combinations, as the index is 7.
    let body = Case::of(spec(&wishes)).body();
    check_rules(&body);
    let set = env(&body);
    for (name, value) in [
        ("lr", "0.01"),
        ("seed", "3"),
        ("A", "kept"),
        ("LD_PRELOAD", ""),
    ] {
        let found: Vec<_> = set.iter().filter(|(other, _)| other == name).collect();
        assert_eq!(found, [&(name.to_owned(), value.to_owned())]);
    }
}

#[test]
fn a_workspace_is_mounted_and_named_in_the_environment() {
    let mut case = Case::of(plain());
    assert!(
        env(&case.body())
            .iter()
            .all(|(name, _)| name != "DOPQ_WORKSPACE")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    case.volumes = vec![PlanMount {
        source: HostFolder::resolve(&root).expect("real"),
        target: "/workspace".into(),
        read_only: false,
    }];
    let body = case.body();
    let named = ("DOPQ_WORKSPACE".to_owned(), "/workspace".to_owned());
    assert!(env(&body).contains(&named));
    let mounts = body["HostConfig"]["Mounts"].as_array().expect("a list");
    let [mount] = &mounts[..] else {
        panic!("{mounts:?}");
    };
    assert_eq!(mount["Source"], json!(root));
    assert_eq!(
        (&mount["Target"], &mount["ReadOnly"]),
        (&json!("/workspace"), &json!(false))
    );
    assert_eq!(mount["BindOptions"]["Propagation"], "rprivate");
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(HOSTILE).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn container() -> impl Strategy<Value = ContainerSpec> {
    let texts = (
        prop::option::of(prop::collection::vec(word(), 0..3)),
        prop::option::of(prop::collection::vec(word(), 0..3)),
        prop::collection::vec((word(), word()), 0..6),
        prop::collection::btree_map(word(), word(), 0..6),
        prop::collection::btree_map(word(), word(), 0..3),
        prop::collection::btree_map(word(), word(), 0..3),
    );
    let more = (
        prop::option::of(word()),
        prop::option::of(word()),
        prop::option::of(word()),
        prop::collection::vec(word(), 0..3),
        prop::sample::select(vec![Network::Bridge, Network::None]),
        any::<[bool; 4]>(),
        prop::option::of(any::<i64>()),
        any::<u64>(),
    );
    (texts, more).prop_map(
        |(
            (command, entrypoint, env, labels, tmpfs, sysctls),
            (user, hostname, stop_signal, list, network, flags, number, size),
        )| {
            let [init, tty, stdin_open, read_only] = flags;
            ContainerSpec {
                command,
                entrypoint,
                env,
                working_dir: user.clone(),
                user,
                domainname: hostname.clone(),
                hostname,
                labels,
                ulimits: vec![Ulimit {
                    name: "nofile".to_owned(),
                    soft: number.unwrap_or(1),
                    hard: 1,
                }],
                shm_size: ByteSize(size),
                stop_signal,
                init,
                tty,
                stdin_open,
                read_only,
                tmpfs: tmpfs.clone(),
                network,
                mem_swappiness: number,
                cpu_limit: Some(MilliCpu(size)),
                cpuset_cpus: None,
                healthcheck: None,
                group_add: list.clone(),
                dns: list,
                extra_hosts: tmpfs,
                sysctls,
                ports: BTreeSet::from([Port {
                    number: 8888,
                    is_udp: false,
                }]),
            }
        },
    )
}

proptest! {
    #[test]
    fn no_wish_breaks_a_rule(
        container in container(),
        count in 0_usize..3,
        image_env in prop::collection::vec((word(), word()), 0..6),
    ) {
        let mut case = Case::of(plain());
        case.spec.container = container;
        case.allocation = gpus(count);
        case.image_env =
            image_env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        for access in [
            GpuAccess::Cdi,
            GpuAccess::DeviceRequests,
            GpuAccess::NvidiaRuntime,
            GpuAccess::EnvironmentOnly,
        ] {
            case.settings.gpu_access = access;
            let body = case.body();
            check_rules(&body);
            let visible = if count == 0 { "void".to_owned() } else { ["GPU-0", "GPU-1"].split_at(count).0.join(",") };
            prop_assert!(env(&body).contains(&("NVIDIA_VISIBLE_DEVICES".to_owned(), visible)));
            let requests = body["HostConfig"]["DeviceRequests"].as_array().expect("a list");
            let devices: usize = requests
                .iter()
                .map(|request| request["DeviceIDs"].as_array().expect("ids, never a count").len())
                .sum();
            let injected = matches!(access, GpuAccess::Cdi | GpuAccess::DeviceRequests);
            prop_assert_eq!(devices, if injected { count } else { 0 });
            let runtime = access == GpuAccess::NvidiaRuntime && count > 0;
            prop_assert_eq!(body["HostConfig"]["Runtime"] == "nvidia", runtime);
            prop_assert_eq!(body["HostConfig"]["Runtime"].is_null(), !runtime);
        }
    }

    /// Whatever document the validator lets through.
    #[test]
    fn no_document_breaks_a_rule(
        parameters in prop::collection::btree_map(
            prop::sample::select(vec![
                "privileged", "binds", "volumes", "volumes_from", "pid_mode", "ipc_mode", "uts_mode",
                "network_mode", "cap_add", "devices", "device_cgroup_rules", "security_opt", "runtime",
                "sysctls", "cgroup_parent", "restart_policy", "log_config", "labels", "environment",
                "mounts", "userns_mode", "tmpfs", "user", "command", "hostname", "extra_hosts",
            ]),
            prop_oneof![
                word().prop_map(Value::from),
                Just(json!(true)),
                word().prop_map(|word| json!([word])),
                (word(), word()).prop_map(|(name, value)| json!({name: value})),
            ],
            0..5,
        ),
    ) {
        let document = json!({"name": "test", "executor_name": "anna", "run_params": parameters});
        if let Ok(spec) = config::parse(&document.to_string()) {
            let case = Case::of(spec);
            if let Ok(plan) = case.plan() {
                check_rules(&serde_json::to_value(plan.to_body()).expect("JSON"));
                for name in plan.user.sysctls.keys() {
                    prop_assert!(name.starts_with("net.") || name.starts_with("kernel.") || name.starts_with("fs.mqueue."));
                    prop_assert_ne!(name, "kernel.core_pattern");
                }
            }
        }
    }
}

#[test]
fn the_whole_request_is_as_agreed() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    let mut case = Case::of(spec(&json!({
        "name": "test", "executor_name": "anna", "required_memory": "1g",
        "run_params": {
            "command": ["python", "train.py"], "entrypoint": ["/init"],
            "environment": {"A": "b"}, "working_dir": "/work", "user": "1000",
            "hostname": "box", "labels": {"team": "vision"}, "shm_size": "2g",
            "ulimits": [{"name": "nofile", "soft": 1024, "hard": 2048}], "tmpfs": {"/scratch": "size=1g"},
            "init": true, "read_only": true, "nano_cpus": 1_500_000_000_i64,
            "extra_hosts": {"db": "10.0.0.5"}, "dns": ["10.0.0.1"],
            "healthcheck": {"test": ["CMD", "true"], "interval": 30_000_000_000_i64},
        },
    })));
    case.allocation = gpus(2);
    case.settings.gpu_access = GpuAccess::Cdi;
    case.settings.imgdir = Some(HostFolder::resolve(&root).expect("real"));
    case.image_env = vec!["LD_PRELOAD=/evil.so".to_owned()];
    let mut body = case.body();
    let source = &mut body["HostConfig"]["Mounts"][0]["Source"];
    assert_eq!(source, root.to_str().expect("text"));
    *source = json!("[imgdir]");
    insta::assert_json_snapshot!(body);
}

#[test]
fn the_machines_network_is_the_administrators_to_give() {
    let mut case = Case::of(plain());
    case.spec.container.network = Network::Host;
    assert_eq!(case.plan(), Err(PlanError::HostNetwork));
    case.settings.allow_host_network = true;
    assert_eq!(case.plan().expect("allowed").network, PlanNetwork::Host);
}

#[test]
fn without_a_bridge_no_job_has_a_network() {
    let mut case = Case::of(plain());
    let plan = case.plan().expect("allowed");
    assert_eq!(plan.network, PlanNetwork::Bridge("dopq".to_owned()));
    case.settings.bridge = None;
    assert_eq!(case.plan().expect("allowed").network, PlanNetwork::None);
}

#[test]
fn ports_are_published_where_the_administrator_says() {
    let mut case = Case::of(plain());
    let ports = BTreeSet::from([
        Port {
            number: 53,
            is_udp: true,
        },
        Port {
            number: 8888,
            is_udp: false,
        },
    ]);
    case.spec.container.ports = ports;
    let body = case.body();
    assert_eq!(body["ExposedPorts"], Value::Null);
    assert_eq!(body["HostConfig"]["PortBindings"], Value::Null);
    case.settings.publish = Some([10, 1, 2, 3].into());
    let body = case.body();
    assert_eq!(
        body["HostConfig"]["PortBindings"],
        json!({"53/udp": [{"HostIp": "10.1.2.3"}], "8888/tcp": [{"HostIp": "10.1.2.3"}]})
    );
    assert_eq!(body["ExposedPorts"], json!({"53/udp": {}, "8888/tcp": {}}));
    for network in [Network::None, Network::Host] {
        case.spec.container.network = network;
        case.settings.allow_host_network = true;
        assert_eq!(case.plan().expect("allowed").publish, None);
    }
}

#[test]
fn names_are_the_attempts_own() {
    let attempt = format!("1423.2-{KEY}").parse().expect("an attempt");
    assert_eq!(
        container_name("default", attempt),
        "dopq-1423-2-cdcdcdcdcdcd"
    );
    assert_eq!(
        container_name("lab", attempt),
        "dopq-lab-1423-2-cdcdcdcdcdcd"
    );
}

#[test]
fn shares_of_the_machine_become_weights_within_the_kernels_bounds() {
    for (milli, shares) in [(0, 2), (1000, 1024), (2500, 2560), (u64::MAX, 262_144)] {
        assert_eq!(cpu_shares(MilliCpu(milli)), shares);
    }
}

#[test]
fn library_paths_keep_only_what_stays_where_it_says() {
    for (set, kept) in [
        (
            "/usr/local/cuda/lib64:/opt/lib",
            "/usr/local/cuda/lib64:/opt/lib",
        ),
        ("/usr/lib:/proc/self/cwd/evil", "/usr/lib"),
        ("evil:./evil:../evil:$ORIGIN/evil:", ""),
        (
            "//proc/self/cwd:/dev/fd/3:/sys/x:/a/../proc:/procure",
            "/procure",
        ),
        ("/a/./b;/c", "/c"),
    ] {
        let mut case = Case::of(plain());
        case.spec.container.env = vec![("LD_LIBRARY_PATH".to_owned(), set.to_owned())];
        let own = ("LD_LIBRARY_PATH".to_owned(), kept.to_owned());
        assert!(env(&case.body()).contains(&own), "{set}");
        case.spec.container.env.clear();
        case.image_env = vec![format!("LD_LIBRARY_PATH={set}")];
        // What the image may keep is left to the image.
        assert_eq!(env(&case.body()).contains(&own), set != kept, "{set}");
    }
}
