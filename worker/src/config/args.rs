//! The command line of `dopq-worker`.

use std::path::PathBuf;

use clap::Parser;
use dopq_common::settings::Layers;

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
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Show what the settings come to, without secrets, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Args {
    /// Adds what the flags say.
    pub(super) fn add_to(&self, layers: &mut Layers) {
        layers.flag("--data-dir", "data_dir", self.data_dir.as_deref());
        layers.flag("--name", "name", self.name.as_deref());
        layers.flag(
            "--simulated-gpus",
            "gpu.simulated",
            self.simulated_gpus.as_deref(),
        );
        layers.set(&self.set);
    }
}
