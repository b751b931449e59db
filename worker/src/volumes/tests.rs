use std::path::Path;

use dopq_common::settings::Scalar as _;

use super::*;

fn named(volumes: &[(&str, String)]) -> Volumes {
    let named = volumes.iter().map(|(name, text)| {
        let setting = VolumeSetting::read(text).expect("a setting");
        ((*name).to_owned(), setting)
    });
    let options = VolumeOptions {
        named: named.collect(),
        ..VolumeOptions::default()
    };
    Volumes::new(&options, CancellationToken::new())
}

fn names(names: &[&str]) -> BTreeSet<VolumeName> {
    names
        .iter()
        .map(|name| name.parse().expect("a name"))
        .collect()
}

fn offered(volumes: &Volumes) -> Vec<String> {
    let offered = volumes.offered();
    offered.keys().map(VolumeName::to_string).collect()
}

fn in_folder(folder: &Path, name: &str, more: &str) -> String {
    format!("{} {more}", folder.join(name).display())
}

#[tokio::test]
async fn only_folders_that_are_there_are_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    std::fs::create_dir(root.join("data")).expect("made");
    std::os::unix::fs::symlink("/etc", root.join("link")).expect("linked");
    let volumes = Arc::new(named(&[
        ("data", in_folder(&root, "data", "")),
        ("late", in_folder(&root, "late", "read-write")),
        ("link", in_folder(&root, "link", "")),
    ]));
    volumes.look().await;
    assert_eq!(offered(&volumes), ["data"]);
    let error = volumes.mounts(&names(&["late"]), None).expect_err("absent");
    assert_eq!(error.cause, Cause::EngineError, "{error:?}");
    std::fs::create_dir(root.join("late")).expect("made");
    std::fs::remove_dir(root.join("data")).expect("removed");
    volumes.look().await;
    assert_eq!(offered(&volumes), ["late"]);
    assert!(!volumes.offered()[&"late".parse().expect("a name")].read_only);
}

#[tokio::test]
async fn a_file_server_that_does_not_answer_takes_its_volumes_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    for name in ["data", "ws"] {
        std::fs::create_dir(root.join(name)).expect("made");
    }
    let data = VolumeSetting::read(&in_folder(&root, "data", ""));
    let options = VolumeOptions {
        workspace: Some(root.join("ws")),
        named: BTreeMap::from([("data".to_owned(), data.expect("a setting"))]),
        ..VolumeOptions::default()
    };
    let volumes = Arc::new(Volumes::new(&options, CancellationToken::new()));
    volumes.look().await;
    assert_eq!(offered(&volumes), ["data", "workspace"]);
    // A look that never ends.
    volumes.looking.lock().insert(VolumeName::workspace());
    volumes.look().await;
    assert_eq!(offered(&volumes), ["data"]);
    let anna = "anna".parse().expect("a name");
    let refused = volumes.workspace(&anna, "train");
    assert!(refused.is_err(), "{refused:?}");
    volumes.looking.lock().clear();
    volumes.look().await;
    assert_eq!(offered(&volumes), ["data", "workspace"]);
}

#[tokio::test]
async fn only_what_the_settings_name_is_mounted_and_only_for_its_groups() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    for name in ["open", "faces"] {
        std::fs::create_dir(root.join(name)).expect("made");
    }
    let volumes = Arc::new(named(&[
        ("open", in_folder(&root, "open", "read-write")),
        ("faces", in_folder(&root, "faces", "groups: vision")),
    ]));
    volumes.look().await;
    let (vision, nlp) = (
        "vision".parse().expect("name"),
        "nlp".parse().expect("name"),
    );
    let both = names(&["faces", "open"]);
    let mounts = volumes.mounts(&both, Some(&vision)).expect("allowed");
    let mounts: Vec<_> = mounts
        .iter()
        .map(|mount| (&*mount.target, mount.source.as_path(), mount.read_only))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/volumes/faces", &*root.join("faces"), true),
            ("/volumes/open", &*root.join("open"), false),
        ]
    );
    for group in [None, Some(&nlp)] {
        let refused = volumes.mounts(&both, group).expect_err("refused");
        assert_eq!(refused.cause, Cause::BundleInvalid, "{refused:?}");
        assert_eq!(
            volumes.mounts(&names(&["open"]), group).expect("all").len(),
            1
        );
    }
    assert!(volumes.mounts(&names(&["other"]), Some(&vision)).is_err());
}

#[tokio::test]
async fn each_user_has_a_workspace_that_others_on_the_machine_cannot_enter() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("resolved");
    let with = |workspace_per| {
        let options = VolumeOptions {
            workspace: Some(root.join("ws")),
            workspace_per,
            ..VolumeOptions::default()
        };
        Arc::new(Volumes::new(&options, CancellationToken::new()))
    };
    let (anna, eve) = ("anna".parse().expect("name"), "eve".parse().expect("name"));
    let volumes = with(WorkspacePer::User);
    volumes.look().await;
    assert!(offered(&volumes).is_empty());
    assert!(
        volumes.workspace(&anna, "train").is_err(),
        "the worker does not make it"
    );
    std::fs::create_dir(root.join("ws")).expect("made");
    volumes.look().await;
    assert_eq!(offered(&volumes), ["workspace"]);
    let workspace = |volumes: &Volumes, user, job| {
        let folder = volumes.workspace(user, job).expect("made");
        let folder = folder.expect("there is one").as_path().to_owned();
        folder
            .strip_prefix(&root)
            .expect("below")
            .display()
            .to_string()
    };
    assert_eq!(workspace(&volumes, &anna, "train"), "ws/anna/files");
    assert_eq!(workspace(&volumes, &anna, "test"), "ws/anna/files");
    assert_eq!(workspace(&volumes, &eve, "train"), "ws/eve/files");
    let by_name = with(WorkspacePer::JobName);
    assert_eq!(workspace(&by_name, &anna, "train"), "ws/anna/jobs/train");
    let mode = |path: &str| {
        let found = std::fs::metadata(root.join(path)).expect("there");
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
    };
    assert_eq!((mode("ws/anna"), mode("ws/anna/jobs")), (0o700, 0o700));
    assert_eq!(
        (mode("ws/anna/files"), mode("ws/anna/jobs/train")),
        (0o777, 0o777)
    );
    // It is no volume of its own, whatever a job asks for.
    assert_eq!(volumes.mounts(&names(&["workspace"]), None), Ok(Vec::new()));
    assert_eq!(named(&[]).workspace(&anna, "train").expect("none"), None);
    // A link in its place is refused.
    std::fs::remove_dir(root.join("ws/eve/files")).expect("removed");
    std::os::unix::fs::symlink("/etc", root.join("ws/eve/files")).expect("linked");
    assert!(volumes.workspace(&eve, "train").is_err());
}
