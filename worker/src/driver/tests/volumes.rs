//! What a job gets of the folders that outlive it.

use std::path::{Path, PathBuf};

use dopq_common::settings::Scalar as _;
use dopq_common::wire::{Order, Report};

use super::rig::Rig;
use crate::docker::PlanMount;
use crate::docker::fake::Program;
use crate::volumes::VolumeSetting;

const NAME: &str = "dopq-1-1-070707070707";

impl Rig {
    /// Offers an empty folder under this name.
    fn offer_volume(&mut self, name: &str, more: &str) {
        let root = self.dir.path().canonicalize().expect("resolved");
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("made");
        let setting = VolumeSetting::read(&format!("{} {more}", folder.display()));
        let named = &mut self.volumes.named;
        named.insert(name.to_owned(), setting.expect("a setting"));
    }

    fn mounts(&self, name: &str) -> Vec<PlanMount> {
        self.fake.plan(name).expect("created").mounts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_told_mounted_and_kept_from_other_groups() {
    let mut rig = Rig::new().await;
    rig.offer_volume("imagenet", "");
    rig.offer_volume("faces", "read-write groups: vision");
    rig.start().await;
    let told = loop {
        if let Report::Hello(hello) = rig.report().await {
            break hello.capacity.volumes;
        }
    };
    let told: Vec<_> = told
        .iter()
        .map(|(name, volume)| (name.as_str(), volume.read_only, volume.groups.len()))
        .collect();
    assert_eq!(told, [("faces", false, 1), ("imagenet", true, 0)]);

    let mut job = rig.job(r#","volumes":["imagenet","faces"]"#);
    job.group = "vision".parse().ok();
    rig.order("1.1", Order::Run(Box::new(job.clone()))).await;
    assert_eq!(
        rig.finished("1.1").await.outcome.cause.as_str(),
        "succeeded"
    );
    let mounts = rig.mounts(NAME);
    let mounts: Vec<_> = mounts
        .iter()
        .map(|mount| (&*mount.target, mount.read_only))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/outdir", false),
            ("/checkpoint", false),
            ("/volumes/faces", false),
            ("/volumes/imagenet", true),
        ]
    );

    job.group = None;
    rig.order("2.1", Order::Run(Box::new(job))).await;
    let outcome = rig.finished("2.1").await.outcome;
    assert_eq!(outcome.cause.as_str(), "bundle_invalid");
    assert!(outcome.detail.contains("faces"), "{outcome:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_user_share_a_workspace_and_others_have_their_own() {
    let mut rig = Rig::new().await;
    let root = rig.dir.path().canonicalize().expect("resolved").join("ws");
    std::fs::create_dir(&root).expect("made");
    rig.volumes.workspace = Some(root.clone());
    rig.start().await;
    let shared = rig.job(r#","outdir":"shared""#);
    let mut of_bert = rig.job("");
    of_bert.user = "bert".parse().expect("a name");
    rig.fake
        .script(NAME, Program::new().leaves("model", "weights"));
    for (attempt, job, is_published) in [("1.1", shared, false), ("2.1", of_bert, true)] {
        rig.order(attempt, Order::Run(Box::new(job))).await;
        let end = rig.finished(attempt).await;
        assert_eq!(end.outcome.cause.as_str(), "succeeded", "{end:?}");
        assert_eq!(end.results.is_some(), is_published, "{end:?}");
    }
    let sources = |name: &str| {
        let mounts = rig.mounts(name);
        let sources = mounts.iter().map(|mount| {
            let source = mount.source.as_path().strip_prefix(&root).ok();
            (mount.target.to_string(), source.map(Path::to_owned))
        });
        sources.collect::<Vec<_>>()
    };
    let of_anna = Some(PathBuf::from("anna/files"));
    assert_eq!(
        sources(NAME),
        [
            ("/outdir".to_owned(), of_anna.clone()),
            ("/checkpoint".to_owned(), None),
            ("/workspace".to_owned(), of_anna)
        ]
    );
    assert_eq!(
        sources("dopq-2-1-070707070707"),
        [
            ("/outdir".to_owned(), None),
            ("/checkpoint".to_owned(), None),
            ("/workspace".to_owned(), Some(PathBuf::from("bert/files")))
        ]
    );
    rig.order("1.1", Order::Forget).await;
    rig.end().await;
    let kept = std::fs::read_to_string(root.join("anna/files/model"));
    assert_eq!(kept.expect("kept"), "weights");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_needs_a_workspace_does_not_run_without_one() {
    let mut rig = Rig::started().await;
    rig.run("1.1", r#","outdir":"shared""#).await;
    let end = rig.finished("1.1").await;
    assert_eq!(end.outcome.cause.as_str(), "engine_error", "{end:?}");
    assert!(end.outcome.detail.contains("/workspace"), "{end:?}");
    rig.end().await;
}
