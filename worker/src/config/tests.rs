//! Tests of the configuration.

use clap::Parser as _;

use dopq_common::settings::{Field as _, Key};

use super::read::Program;
use super::*;
use crate::egress::Egress;
use crate::options::GpuMode;

fn variables<'v>(
    pairs: &'v [(&'v str, &'v str)],
) -> impl Iterator<Item = (String, String)> + use<'v> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn args(line: &str) -> Args {
    Args::parse_from(std::iter::once("dopq-worker").chain(line.split_whitespace()))
}

#[test]
fn flags_are_above_the_environment_and_that_above_the_defaults() {
    let environment = [
        ("DOPQ_SECRET", "s"),
        ("DOPQ_NAME", "w1"),
        ("DOPQ_CPUS", "1.5"),
        ("DOPQ_GPU_SIMULATED", "4"),
        ("DOPQ_LABELS", "zone=a"),
        ("DOPQ_GPU_MODE", "cdi"),
    ];
    let config = read(
        &args("--data-dir /d --simulated-gpus 2 --set limits.builds=7"),
        variables(&environment),
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let worker = config.options.settings;
    assert_eq!(config.options.name.as_str(), "w1");
    assert_eq!(worker.data_dir.to_str(), Some("/d"));
    assert_eq!(worker.gpu.simulated, Some(2));
    assert_eq!(worker.gpu.mode, GpuMode::Cdi);
    assert_eq!(worker.limits.builds, 7);
    assert_eq!(worker.cpus.map(|cpus| cpus.0), Some(1500));
    assert_eq!(worker.labels.get("zone").map(String::as_str), Some("a"));
    assert!(!config.printed.contains("\"s\""), "{}", config.printed);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let environment = [
        ("DOPQ_NAME", "a/b"),
        ("DOPQ_CPUS", "many"),
        ("DOPQ_SECRET", "s"),
        ("DOPQ_KEY", "k"),
        ("DOPQ_MASTER_URLS", "ftp://x"),
        ("DOPQ_BROKER_URL", "amqp://guest:guest@rabbit.lab/dopq"),
    ];
    let line = "--set limits.log=much --set limit.log=1g --set log.format=xml";
    let Err(mistakes) = read(&args(line), variables(&environment)) else {
        panic!("it was taken");
    };
    let told = mistakes.to_string();
    for part in [
        "a/b",
        "many",
        "only one of secret and key",
        "ftp://x",
        "much",
        "did you mean `limits.log`",
        "xml",
        "guest/guest is refused for another machine (rabbit.lab)",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn the_machine_s_network_is_not_given_where_jobs_are_limited() {
    let environment = [("DOPQ_SECRET", "s"), ("DOPQ_NETWORK_EGRESS", "internet")];
    let config = read(
        &args("--set network.egress_allow=10.1.0.0/16,proxy.lab:3128"),
        variables(&environment),
    );
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let network = config.options.settings.network;
    assert_eq!(
        (network.egress, network.egress_allow.len()),
        (Egress::Internet, 2)
    );
    let Err(mistakes) = read(
        &args("--set allow_host_network=true --set network.egress_allow=http://proxy"),
        variables(&environment),
    ) else {
        panic!("it was taken");
    };
    let told = mistakes.to_string();
    for part in ["it must be open", "http://proxy"] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
}

#[test]
fn the_key_is_the_clusters_or_its_own() {
    let cluster = dopq_common::wire::ClusterKey::from_secret("s");
    let worker = "w1".parse().expect("name");
    let own = cluster.worker(&worker).reveal();
    for (name, value) in [("DOPQ_SECRET", "s"), ("DOPQ_KEY", own.as_str())] {
        let environment = [("DOPQ_NAME", "w1"), (name, value)];
        let config = read(&args(""), variables(&environment))
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(config.options.key.reveal(), own);
    }
    let environment = [("DOPQ_NAME", "w1"), ("DOPQ_KEY", "short")];
    assert!(read(&args(""), variables(&environment)).is_err());
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "no certificate\n").expect("written");
    let path = path.to_str().expect("text");
    let environment = [
        ("DOPQ_NAME", "w1"),
        ("DOPQ_SECRET", "s"),
        ("DOPQ_MASTER_CA", path),
    ];
    let Err(mistakes) = read(&args(""), variables(&environment)) else {
        panic!("it was taken");
    };
    let told = mistakes.to_string();
    assert!(told.contains("DOPQ_MASTER_CA"), "{told}");
    assert!(told.contains("PEM"), "{told}");
}

#[test]
fn every_setting_is_documented() {
    let document = include_str!("../../../docs/CONFIGURATION.md");
    let (_, worker) = document.split_once("\n## Worker\n").expect("its part");
    let worker = worker.split("\n## ").next().expect("its part");
    let mut rows: Vec<&str> = worker
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let mut keys: Vec<String> = Program::keys().iter().map(Key::row).collect();
    rows.sort_unstable();
    keys.sort_unstable();
    assert_eq!(rows, keys);
}
