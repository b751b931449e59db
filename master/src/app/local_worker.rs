//! The worker of a standalone master: an ordinary one, over the in-process broker.

use std::path::Path;

use dopq_common::id::WorkerId;
use dopq_common::wire::ClusterKey;
use dopq_worker::{GpuMode, GpuOptions, Options};

use crate::config::LocalWorker;

/// The name of the one worker.
const NAME: &str = "local";

/// The worker's options; `url` is where this master answers.
pub(super) fn options(
    worker: &LocalWorker,
    cluster: &str,
    key: &ClusterKey,
    data_dir: &Path,
    url: &str,
) -> Result<Options, dopq_common::id::ParseIdError> {
    let name: WorkerId = NAME.parse()?;
    let mut options = Options::new(name.clone(), key.worker(&name), data_dir.join("worker"));
    options.cluster = cluster.to_owned();
    options.master_urls = vec![url.to_owned()];
    options.docker_host = worker.docker_host.clone();
    options.gpu = GpuOptions {
        mode: GpuMode::default(),
        simulated: worker.simulated_gpus,
    };
    options.slots_per_gpu = worker.slots_per_gpu;
    options.imgdir = worker.imgdir.clone();
    options.outdir = worker.outdir.clone();
    Ok(options)
}
