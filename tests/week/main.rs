//! A week of use on one disk of 2 GB: 2,000 jobs with images, logs and results. The disk never fills, and nothing that
//! is needed is removed.
//!
//! Master and worker are whole and run in this process. The engine is the pretended one; its images are files.

mod cluster;
mod disk;

use futures::stream::{StreamExt as _, iter};
use tokio::time::Instant;

use cluster::{Cluster, IMAGE_BYTES, LOG_BYTES, RESULTS_BYTES, bundle};
use disk::Disk;

const DISK_BYTES: u64 = 2 << 30;
const JOBS: usize = 2000;
/// Users submit the same bundle a few times in a row, and come back to it later.
const BUNDLES: u64 = 250;
const IN_A_ROW: usize = 4;
/// Jobs that are queued or running at once.
const AT_ONCE: usize = 64;
/// Jobs that ended last, whose results somebody may fetch.
const RECENT: usize = 20;
/// The most that may be used of the disk.
const MOST: f64 = 0.9;

#[tokio::test(flavor = "multi_thread")]
async fn a_week_of_jobs_fits_on_a_disk_of_2_gb() {
    let disk = Disk::mount(DISK_BYTES);
    let cluster = Cluster::start(disk.path()).await;
    let watch = disk.watch();
    let began = Instant::now();

    let bundles: Vec<_> = (0..BUNDLES).map(bundle).collect();
    let jobs = bundles.iter().cycle().flat_map(|bundle| [bundle; IN_A_ROW]);
    let jobs = iter(jobs.take(JOBS)).map(|bundle| cluster.run(bundle));
    let jobs: Vec<u64> = jobs.buffered(AT_ONCE).collect().await;
    for job in jobs.iter().rev().take(RECENT) {
        assert!(cluster.results(*job).await > RESULTS_BYTES, "job {job}");
        assert!(cluster.log(*job).await >= LOG_BYTES, "job {job}");
    }

    let builds = cluster.builds();
    let made = jobs.len() as u64 * (RESULTS_BYTES + LOG_BYTES) + builds * IMAGE_BYTES;
    assert!(made > 2 * DISK_BYTES, "only {made} bytes were written");
    let fullest = watch.stop();
    assert!(fullest < MOST, "{fullest} of the disk was used");
    eprintln!(
        "{JOBS} jobs, {builds} builds, {made} bytes in {:?}; at most {fullest:.2} of the disk used",
        began.elapsed()
    );
    cluster.stop().await;
}
