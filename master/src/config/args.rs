//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use dopq_common::settings::Layers;

/// The DoPQ master: takes jobs, decides whose turn it is, and tells the workers what to run.
///
/// To try it, or for a single machine, nothing else is needed than
///
///   dopq-master --standalone --data-dir ./dopq --simulated-gpus 2
///
/// which writes the admin's token to ./dopq/admin.token. With several machines, name Redis, RabbitMQ
/// and a bundle store in a configuration file; --standalone --print-config shows every setting with its
/// default. A setting can also be given as a variable, such as DOPQ_STORE_URL for store.url; flags override
/// variables, and variables override the file.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "dopq-master",
    version,
    after_help = "Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage, 5 cannot listen or reach what it needs,\n\
                  6 another process uses the data folder, 64 bad configuration."
)]
pub struct Args {
    /// The configuration file [default: /etc/dopq/master.toml, when it exists]
    #[arg(long, value_name = "FILE", env = "DOPQ_CONFIG")]
    pub config: Option<PathBuf>,
    /// Run everything in this process: store, broker and one worker
    #[arg(long)]
    pub standalone: bool,
    /// Private folder of this master [default: /var/lib/dopq]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where the API listens; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Standalone: pretend to have N GPUs
    #[arg(long, value_name = "N")]
    pub simulated_gpus: Option<String>,
    /// Any setting by its name, such as --set scheduler.lost_after=5m; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Show the settings that result, with where each comes from, and stop
    #[arg(long)]
    pub print_config: bool,
    /// What is logged: a level, or levels by part, such as info,dopq_master::driver=debug
    #[arg(
        long,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    pub log: String,
    /// How it is logged, on standard error
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        env = "DOPQ_LOG_FORMAT",
        default_value_t
    )]
    pub log_format: LogFormat,
}

impl Args {
    /// Adds what the flags say.
    pub(super) fn add_to(&self, layers: &mut Layers) {
        layers.flag(
            "--standalone",
            "standalone",
            self.standalone.then_some("true"),
        );
        layers.flag("--data-dir", "data_dir", self.data_dir.as_deref());
        layers.flag("--listen", "listen", self.listen.as_deref());
        layers.flag(
            "--simulated-gpus",
            "worker.simulated_gpus",
            self.simulated_gpus.as_deref(),
        );
        layers.set(&self.set);
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, for programs.
    Json,
}
