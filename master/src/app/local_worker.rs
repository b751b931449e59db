//! The worker of a standalone master: an ordinary one, over the in-process broker.

use std::path::Path;

use dopq_common::id::{ParseIdError, WorkerId};
use dopq_common::settings::{BaseUrl, Scalar as _};
use dopq_common::wire::ClusterKey;
use dopq_worker::{DockerOptions, GpuOptions, Options};

use crate::config::{LocalWorker, Settings};

/// The name of the one worker.
const NAME: &str = "local";

/// The worker's options; `url` is where this master answers.
pub(super) fn options(
    settings: &Settings,
    key: &ClusterKey,
    data_dir: &Path,
    url: &str,
) -> Result<Options, ParseIdError> {
    let name: WorkerId = NAME.parse()?;
    let LocalWorker {
        simulated_gpus,
        slots_per_gpu,
        docker_host,
        docker_config,
        docker_files,
        imgdir,
        outdir,
        build,
        network,
        volumes,
        prefetch,
    } = settings.worker.clone();
    Ok(Options {
        key: key.worker(&name),
        master_ca_pem: None,
        name,
        settings: dopq_worker::Settings {
            cluster: settings.cluster.clone(),
            data_dir: data_dir.join("worker"),
            master_urls: BaseUrl::read(url).into_iter().collect(),
            docker: DockerOptions {
                host: docker_host,
                config: docker_config,
                files: docker_files,
                ..DockerOptions::default()
            },
            gpu: GpuOptions {
                simulated: simulated_gpus,
                ..GpuOptions::default()
            },
            slots_per_gpu,
            imgdir,
            outdir,
            build,
            network,
            volumes,
            prefetch,
            ..dopq_worker::Settings::default()
        },
    })
}
