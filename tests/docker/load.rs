//! Loading `image.tar` through the real engine.

use std::process::Command;

use dopq_worker::docker::{BuildError, BuildRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, joined};

async fn load(bench: &Bench, request: &BuildRequest) -> Result<String, BuildError> {
    let (output, _) = mpsc::channel(1);
    bench
        .engine
        .load(request, output, CancellationToken::new())
        .await
}

fn docker(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("docker runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// An archive to whose end its user added the configuration, as the share takes it.
fn with_configuration(archive: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("image.tar");
    std::fs::write(&tar, archive).expect("written");
    std::fs::write(folder.path().join("container_config.json"), "{}").expect("written");
    let mut append = Command::new("tar");
    append.current_dir(&folder);
    append.args(["rf", "image.tar", "container_config.json"]);
    assert!(append.status().expect("tar runs").success());
    std::fs::read(tar).expect("read")
}

#[tokio::test]
async fn an_archive_with_a_configuration_in_it_is_loaded() {
    let bench = Bench::docker().await;
    let archive = with_configuration(&docker(&["save", &bench.image]));
    let request = bench.request(&bench.zip(&[("image.tar", &archive)]));
    let mut plan = bench.plan(1, "echo loaded");
    plan.image = load(&bench, &request).await.expect("loaded");
    let id = bench.run(&plan).await;
    assert_eq!(joined(&bench.output(&id, true).await, None), b"loaded\n");
}

#[tokio::test]
async fn a_saved_image_runs_and_takes_nobodys_name() {
    let bench = Bench::docker().await;
    // Somebody's name, which the archive claims; it must stay what it is.
    let victim = format!("dopq/victim:{}", bench.cluster);
    docker(&["tag", &bench.image, &victim]);
    let archive = docker(&["save", &victim]);
    let other = bench.request(&bench.zip(&[("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")]));
    let other = bench.build(&other).await.expect("built");
    docker(&["tag", &other, &victim]);

    let request = bench.request(&bench.zip(&[("image.tar", &archive)]));
    let id = load(&bench, &request).await.expect("loaded");
    let named = bench
        .engine
        .find_image(&victim)
        .await
        .expect("asked")
        .expect("there");
    docker(&["rmi", &victim]);
    assert_eq!(named.id, other, "the name was not taken");

    let image = bench
        .engine
        .find_image(&request.tag)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!((image.id, image.labels), (id.clone(), request.labels));
    let mut plan = bench.plan(1, "echo loaded");
    plan.image = id;
    let id = bench.run(&plan).await;
    assert_eq!(joined(&bench.output(&id, true).await, None), b"loaded\n");
}

#[tokio::test]
async fn what_is_no_image_is_the_users_fault() {
    let bench = Bench::docker().await;
    for (files, words) in [
        (&[("image.tar", &b"no tar"[..])][..], "image.tar: "),
        (&[("x", b"")], "image.tar is not in the bundle"),
    ] {
        let request = bench.request(&bench.zip(files));
        match load(&bench, &request).await.expect_err(words) {
            BuildError::Failed { detail, .. } => assert!(detail.contains(words), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn instructions_of_a_loaded_image_do_not_run() {
    let bench = Bench::docker().await;
    let text = format!("FROM {}\nONBUILD RUN echo ran > /ran\n", bench.base);
    let trap = bench.request(&bench.zip(&[("Dockerfile", text.as_bytes())]));
    bench.build(&trap).await.expect("built");
    let archive = docker(&["save", &trap.tag]);
    let request = bench.request(&bench.zip(&[("image.tar", &archive)]));
    match load(&bench, &request).await.expect_err("a trap") {
        BuildError::Failed { detail, .. } => assert!(detail.contains("ONBUILD"), "{detail}"),
        other => panic!("{other:?}"),
    }
    let tags = [request.tag.clone(), format!("{}-loaded", request.tag)];
    for tag in tags {
        assert_eq!(bench.engine.find_image(&tag).await.expect("asked"), None);
    }
}
