//! The command line of `dopq-worker`.

use std::path::PathBuf;

use clap::Parser;

/// The agent on one GPU machine: builds and runs the jobs that the masters give it.
#[derive(Debug, Parser)]
#[command(name = "dopq-worker", version, about, max_term_width = 100)]
pub(crate) struct Args {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", env = "DOPQ_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Keep records, logs and bundles in this folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// This worker's name [default: the machine's host name]
    #[arg(long)]
    name: Option<String>,
    /// Offer this many pretended GPUs instead of the machine's own
    #[arg(long, value_name = "N")]
    simulated_gpus: Option<String>,
    /// Set any setting, such as --set limits.builds=4
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Show what the settings come to, without secrets, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Args {
    /// What the flags say: flag, setting, value.
    pub(super) fn settings(&self) -> Vec<(String, String, String)> {
        let named = [
            ("--data-dir", "data_dir", &self.data_dir),
            ("--name", "name", &self.name),
            ("--simulated-gpus", "gpu.simulated", &self.simulated_gpus),
        ];
        let named = named.into_iter().filter_map(|(flag, name, value)| {
            let value = value.clone()?;
            Some((flag.to_owned(), name.to_owned(), value))
        });
        let sets = self.sets.iter().map(|set| {
            let (name, value) = set.split_once('=').unwrap_or((set, ""));
            (format!("--set {name}"), name.to_owned(), value.to_owned())
        });
        named.chain(sets).collect()
    }
}
