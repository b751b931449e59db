//! Tests of the configuration.

use std::path::PathBuf;

use dopq_common::settings::{Field as _, Key};

use super::*;

fn args(given: &[&str]) -> Args {
    use clap::Parser as _;
    // A file that is there and empty, so that the machine's own is not read.
    let fixed = ["dopq-master", "--config", "/dev/null"];
    Args::try_parse_from(fixed.iter().chain(given)).expect("usage")
}

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

const CLUSTER: [(&str, &str); 4] = [
    ("DOPQ_STORE_URL", "redis://127.0.0.1/0"),
    ("DOPQ_BROKER_URL", "amqp://guest:guest@localhost/%2f"),
    ("DOPQ_BUNDLES_URL", "/srv/bundles"),
    ("DOPQ_SECRET", "0123456789abcdef"),
];

#[test]
fn standalone_needs_no_configuration() {
    let args = args(&[
        "--standalone",
        "--data-dir",
        "/tmp/x",
        "--simulated-gpus",
        "2",
    ]);
    let (config, printed) = read(&args, Vec::new()).expect("no mistake");
    assert!(config.services.is_none(), "{:?}", config.services);
    assert_eq!(config.settings.worker.simulated_gpus, Some(2));
    assert_eq!(config.settings.data_dir, PathBuf::from("/tmp/x"));
    assert!(config.warnings.is_empty());
    assert!(
        printed.contains("data_dir = \"/tmp/x\" # --data-dir"),
        "{printed}"
    );
}

#[test]
fn a_cluster_needs_its_parts_and_says_which() {
    let mistakes = read(&args(&[]), Vec::new())
        .expect_err("nothing is set")
        .to_string();
    for name in ["`store.url`", "`broker.url`", "`bundles.url`", "`secret`"] {
        assert!(mistakes.contains(name), "{name} is not in {mistakes}");
    }
    let (config, printed) = read(&args(&[]), set(&CLUSTER)).expect("no mistake");
    assert!(config.services.is_some());
    assert!(!printed.contains("0123456789abcdef"), "{printed}");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn what_would_be_open_to_the_network_is_refused() {
    for (given, set_too, message) in [
        (
            vec!["--listen", "0.0.0.0:1"],
            vec![],
            "can be reached from other machines",
        ),
        (
            vec!["--set", "store.url=redis://r/0"],
            vec![],
            "it has no password",
        ),
        (
            vec![],
            vec![("DOPQ_BROKER_URL", "amqp://guest:guest@r/")],
            "guest/guest is refused",
        ),
        (
            vec!["--set", "store.url=redis://u:passw0rd@r/0"],
            vec![],
            "give `store.url` as DOPQ_STORE_URL or in a file",
        ),
        (
            vec!["--set", "broker.url=amqp://r/"],
            vec![],
            "guest/guest is refused",
        ),
        (
            vec!["--set", "secret=0123456789abcdef"],
            vec![],
            "DOPQ_SECRET",
        ),
        (
            vec!["--set", "tls.cert=/x"],
            vec![],
            "`tls.key`: it is needed with tls.cert",
        ),
        (
            vec![],
            vec![("DOPQ_SECRET", "short")],
            "5 characters and needs 16 or more",
        ),
        (
            vec!["--set", "scheduler.lost_after=10s"],
            vec![],
            "longer than scheduler.suspect_after",
        ),
        (
            vec!["--set", "scheduler.suspect_after=1s"],
            vec![],
            "1s is too little; the least is 6s",
        ),
        (
            vec!["--set", "worker.imgdir=/x"],
            vec![],
            "it is for --standalone",
        ),
        (
            vec!["--standalone"],
            vec![],
            "a standalone master has its own",
        ),
    ] {
        let mut environment = set(&CLUSTER);
        environment.extend(set(&set_too));
        let mistakes = read(&args(&given), environment)
            .expect_err(message)
            .to_string();
        assert!(
            mistakes.contains(message),
            "{message:?} is not in {mistakes}"
        );
    }
}

#[test]
fn what_is_insecure_by_choice_says_so_each_time() {
    let given = [
        "--listen",
        "0.0.0.0:1",
        "--set",
        "insecure_http=true",
        "--set",
        "advertise_url=http://m:1/",
    ];
    let mut environment = set(&CLUSTER);
    environment.extend(set(&[
        ("DOPQ_STORE_URL", "redis://:p@r/0"),
        ("DOPQ_BROKER_URL", "amqp://u:p@r/"),
    ]));
    let (config, _) = read(&args(&given), environment).expect("allowed");
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    assert_eq!(config.settings.advertise_url.as_deref(), Some("http://m:1"));
}

#[test]
fn the_secret_is_a_workers_key_on_one_machine_only() {
    let broker = |url| {
        let mut environment = set(&CLUSTER);
        environment.extend(set(&[("DOPQ_BROKER_URL", url)]));
        environment
    };
    let shared = |given: &[&str], environment| {
        let (config, _) = read(&args(given), environment).expect("allowed");
        let warned = config.warnings.iter();
        let warned = warned.filter(|warning| warning.contains("insecure_shared_secret"));
        (config.shared_secret, warned.count())
    };
    assert_eq!(shared(&[], set(&CLUSTER)), (true, 0));
    assert_eq!(shared(&["--standalone"], Vec::new()), (true, 0));
    assert_eq!(shared(&[], broker("amqp://u:p@r/")), (false, 0));
    assert_eq!(shared(&[], broker("amqp://u:p@0.0.0.0/")), (false, 0));
    let allowed = ["--set", "insecure_shared_secret=true"];
    assert_eq!(shared(&allowed, broker("amqp://u:p@r/")), (true, 1));
}

#[test]
fn every_setting_is_documented() {
    let document = include_str!("../../../docs/CONFIGURATION.md");
    let (_, master) = document.split_once("\n## Master\n").expect("its part");
    let (master, _) = master.split_once("\n## Worker\n").expect("the other part");
    let mut rows: Vec<&str> = master
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let mut keys: Vec<String> = Settings::keys().iter().map(Key::row).collect();
    rows.sort_unstable();
    keys.sort_unstable();
    assert_eq!(rows, keys);
}
