//! What the administrator gives to builds and containers: logins, proxies, files, and when images are pulled.

use std::path::PathBuf;

use dopq_common::settings::Scalar as _;
use dopq_tests::programs::unique;
use dopq_tests::registry::Registry;
use dopq_worker::docker::{BuildError, Client, Engine, Error, Pull, SharedFile, holder_image};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::{Bench, PATIENCE, host, joined};

/// A bench whose engine has this Docker configuration and shares these files, by where they are seen.
async fn bench(config: &Value, files: &[(&str, &str)]) -> (Bench, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).expect("written");
    let files = files.iter().enumerate().map(|(n, (target, content))| {
        let source = folder.path().join(n.to_string());
        std::fs::write(&source, content).expect("written");
        let setting = format!("{}:{target}", source.display());
        SharedFile::read(&setting).expect("sound")
    });
    let client = Client::with_config(&host(), Some(path), files.collect());
    (Bench::on(Engine::Docker(client)).await, folder)
}

fn zip(bench: &Bench, dockerfile: &str) -> PathBuf {
    bench.zip(&[("Dockerfile", dockerfile.as_bytes())])
}

/// What a container prints.
async fn printed(bench: &Bench, shell: &str, params: Value) -> String {
    let plan = bench.plan_with(1, shell, params);
    let id = bench.run(&plan).await;
    let pieces = bench.output(&id, true).await;
    String::from_utf8_lossy(&joined(&pieces, None)).into_owned()
}

#[tokio::test]
async fn a_registry_s_login_is_used_for_images_and_for_base_images() {
    let registry = Registry::with_login("anna", "s:c");
    let image = registry.busybox();
    let (stranger, _folder) = bench(&json!({}), &[]).await;
    let refused = stranger.engine.pull(&image, PATIENCE).await;
    assert!(
        matches!(refused, Err(Error::ImageMissing { .. })),
        "{refused:?}"
    );
    let dockerfile = format!("FROM {image}\nRUN [\"/bin/busybox\", \"true\"]\n");
    let request = stranger.request(&zip(&stranger, &dockerfile));
    let refused = stranger.build(&request).await;
    assert!(
        matches!(refused, Err(BuildError::Failed { .. })),
        "{refused:?}"
    );

    let (known, _folder) = bench(&registry.docker_config(), &[]).await;
    let request = known.request(&zip(&known, &dockerfile));
    let (built, output) = known.build_and_listen(&request).await;
    built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
    known.engine.pull(&image, PATIENCE).await.expect("pulled");
    known.engine.remove_image(&image).await.expect("removed");
}

#[tokio::test]
async fn proxies_are_set_in_builds_and_containers() {
    let config =
        json!({"proxies": {"default": {"httpProxy": "http://proxy:3128", "noProxy": "lan"}}});
    let (bench, _folder) = bench(&config, &[]).await;
    let dockerfile = format!(
        "FROM {}\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo by $http_proxy $HTTP_PROXY not $NO_PROXY\"]\n",
        bench.base
    );
    let request = bench.request(&zip(&bench, &dockerfile));
    let (built, output) = bench.build_and_listen(&request).await;
    built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
    assert!(
        output.contains(" by http://proxy:3128 http://proxy:3128 not lan\n"),
        "{output}"
    );
    let image = bench.engine.find_image(&request.tag).await.expect("asked");
    let env = image.expect("built").env;
    assert!(!env.iter().any(|line| line.contains("proxy")), "{env:?}");

    let own = json!({"environment": {"http_proxy": "http://own"}});
    let text = printed(&bench, "echo $http_proxy $HTTP_PROXY $no_proxy", own).await;
    assert_eq!(text, "http://own http://proxy:3128 lan\n");
}

#[tokio::test]
async fn shared_files_are_seen_in_builds_and_containers_and_are_in_no_image() {
    let files = [
        ("/etc/pip.conf", "[global]\n"),
        ("/etc/a/b+c.pem", "certificate\n"),
    ];
    let (mut bench, _folder) = bench(&json!({}), &files).await;
    let plain = Bench::docker().await;
    let dockerfile = format!(
        "# syntax=docker/dockerfile:1\nFROM {}\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\n\
         RUN --mount=type=tmpfs,target=/t \\\n  cat=$(/bin/busybox cat /etc/pip.conf /etc/a/b+c.pem); echo seen: $cat\n\
         RUN <<EOF\n/bin/busybox cat /etc/pip.conf\nEOF\n\
         RUN --mount=type=bind,source=Dockerfile,target=/etc/pip.conf echo own: $(/bin/busybox head -n 1 /etc/pip.conf)\n\
         USER 1234:1234\nRUN /bin/busybox cat /etc/a/b+c.pem\n",
        bench.base
    );
    let request = bench.request(&zip(&bench, &dockerfile));
    let (built, output) = bench.build_and_listen(&request).await;
    let built = built.unwrap_or_else(|error| panic!("{error:?}: {output}"));
    for line in [
        " seen: [global] certificate\n",
        " [global]\n",
        " certificate\n",
        " own: # syntax=docker/dockerfile:1\n",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert!(!output.contains("id=/etc"), "{output}");
    bench.image = built;
    let look = "/bin/busybox cat /etc/pip.conf /etc/a/b+c.pem; echo x > /etc/pip.conf";
    let text = printed(&bench, look, json!({})).await;
    // The complaint is on the other stream, which may come before, between or after these lines.
    for line in ["[global]\n", "certificate\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(
        text.contains("Read-only") || text.contains("Permission denied"),
        "{text}"
    );

    let mut plan = plain.plan(1, "/bin/busybox cat /etc/pip.conf /etc/a/b+c.pem");
    plan.image.clone_from(&bench.image);
    let id = plain.run(&plan).await;
    let pieces = plain.output(&id, true).await;
    assert_eq!(
        joined(&pieces, Some(false)),
        b"",
        "the layers have nothing of it"
    );
}

#[tokio::test]
async fn base_images_are_not_pulled_where_nothing_is() {
    let registry = Registry::with_login("anna", "s:c");
    let (bench, _folder) = bench(&registry.docker_config(), &[]).await;
    let image = registry.busybox();
    for text in [
        format!("FROM {image}\n"),
        format!("ARG A={image}\nFROM $A\nRUN [\"/bin/busybox\", \"true\"]\n"),
        format!("FROM {}\nCOPY --from={image} /bin/busybox /b\n", bench.base),
    ] {
        let mut request = bench.request(&zip(&bench, &text));
        request.limits.pull = Pull::Never;
        let (built, output) = bench.build_and_listen(&request).await;
        match built {
            Err(BuildError::Failed {
                step: Some(step),
                detail,
            }) => {
                assert!(step.contains(&image), "{step}");
                assert!(
                    detail.ends_with("this machine lacks it and pulls none"),
                    "{detail}"
                );
            }
            other => panic!("{text}: {other:?}: {output}"),
        }
        let named = bench.engine.find_image(&request.tag).await.expect("asked");
        assert_eq!(named, None);
    }
    bench.engine.pull(&image, PATIENCE).await.expect("pulled");
    for text in [format!("FROM {image}\n"), format!("FROM {}\n", bench.base)] {
        let mut request = bench.request(&zip(&bench, &text));
        request.limits.pull = Pull::Never;
        bench.build(&request).await.expect("what is there is used");
    }
    bench.engine.remove_image(&image).await.expect("removed");
}

#[tokio::test]
async fn what_only_holds_a_network_gets_no_files() {
    let large = "x".repeat(400 * 1024);
    let files = ["/etc/a", "/etc/b", "/etc/c"].map(|target| (target, large.as_str()));
    let (bench, _folder) = bench(&json!({}), &files).await;
    bench.engine.add_holder_image().await.expect("imported");
    let mut plan = bench.plan(1, "");
    plan.name = unique("holder");
    plan.image = holder_image();
    plan.labels.clear();
    plan.user.init = false;
    plan.user.command = Some(vec!["/wait".to_owned(), plan.name.clone()]);
    let id = bench.run(&plan).await;
    let [hosts, ..] = bench.engine.network_files(&id).await.expect("read");
    assert!(String::from_utf8_lossy(&hosts).contains("localhost"));
    bench.engine.remove(&id, true).await.expect("removed");
}
