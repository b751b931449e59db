//! Bundles of the kinds that people write (`tests/bundles`) build and run as they do with `docker build`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dopq_common::resources::ByteSize;
use dopq_tests::bases::Bases;
use dopq_tests::cli::Cli;
use dopq_tests::engine;
use dopq_tests::programs::Standalone;
use serde_json::json;
use tempfile::TempDir;

/// Each bundle with what its container prints.
const KINDS: [(&str, &str); 18] = [
    ("apt", "hello from a package\nfrontend unset\n"),
    (
        "arguments",
        "before: nothing\nafter: 1.36\ngood day, \"you\" $HOME\nfor linux\ngreeting is set\n",
    ),
    ("bom", "Dockerfile\ncontainer_config.json\nshown.txt\n"),
    (
        "conda",
        "numpy 2.1.1 in train\nbuilt in train\nchecked in train\n",
    ),
    ("crlf", "one\ntwo\nkept.txt\nmode train.\n"),
    (
        "cuda",
        "add.cu sm_80 cuda 12.4.1\nadd.cu sm_90 cuda 12.4.1\ngpus void\n",
    ),
    (
        "dockerignore",
        ".\n./README.md\n./data\n./data/index\n./data/raw\n./data/raw/keep.csv\n./src\n./src/main.py\n./src/model\n\
         ./src/model/important.log\n./src/model/net.py\n./src/model/scratchpad\n./src/model/scratchpad/y\n",
    ),
    (
        "entrypoint-exec",
        "<python train.py> <--epochs> <3> \nready: yes\n",
    ),
    ("entrypoint-shell", "mode evaluate, 1 argument\n"),
    ("healthcheck", "volumes: /scratch /var/cache/models \n"),
    (
        "heredoc",
        "hello world\narguments: one two\ntabs world\npython wrote 42\n\
         from standard input: \\ $HOME 'quoted'\nboth of world\nbash 3\n",
    ),
    ("heredoc-copy", "[train]\nlr = 0.1\n"),
    ("links", "lr: 1\nlr: 1\nweights\nweights\nweights\n"),
    (
        "names",
        "copied data/$HOME & co.txt\ncopied data/100% + done.txt\ncopied data/[v1] #notes.txt\n\
         copied data/größe 日本/modèle v2.txt\ncopied data/it's \"quoted\".txt\n\
         one\nsix\neight\nseven\nthree\ngröße: 1\n",
    ),
    ("onbuild", "stage release\n2\nthe application\n"),
    ("stages", "tool\ndata\nmore\ntool\nroot\n1\n"),
    ("user", "app\nmade-by-app\napp 755\nresult of 10001\n"),
    ("uv", "tinygrad 0.9.2 tqdm 4.66.5 uid 1000\n"),
];

/// What engine 20.10 cannot build, and what the user is told instead.
const TOO_NEW: (&str, &str) = ("heredoc-copy", "too old for here-documents in COPY");

fn folder_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bundles")
        .join(name)
}

/// A copy of a bundle, to which files are added.
fn copy(name: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(folder_of(name)).expect("a bundle") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    copy
}

/// What is wrong with the job's end; `None` if it printed this.
fn judge(cli: &Cli, id: u64, expected: &str) -> Option<String> {
    let job = cli.finished(id);
    let log = |source| {
        let answer = cli.run(&["logs", &id.to_string(), "--source", source]);
        answer.text()
    };
    if job["outcome"]["cause"] != json!("succeeded") {
        let (build, stderr) = (log("build"), log("stderr"));
        return Some(format!("{}\n{build}\n{stderr}", job["outcome"]));
    }
    let printed = log("stdout");
    (printed != expected).then(|| format!("it printed\n{printed}"))
}

fn is_too_new(cli: &Cli, id: u64) -> Option<String> {
    let outcome = &cli.finished(id)["outcome"];
    let detail = outcome["detail"].as_str().unwrap_or_default();
    let told = outcome["cause"] == json!("build_failed") && detail.contains(TOO_NEW.1);
    (!told).then(|| outcome.to_string())
}

#[test]
fn every_kind_of_bundle_builds_and_runs() {
    let _bases = Bases::shared();
    let master = Standalone::start(0);
    let cli = master.admin();
    let many = copy("many-files");
    for n in 0..20_000 {
        let folder = many.path().join(format!("files/{}", n % 100));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{n}.txt")), format!("{n}\n")).expect("a file");
    }
    let mut jobs = vec![("many-files", cli.submit(many.path()), "20000\n199990000\n")];
    for (name, expected) in KINDS {
        jobs.push((name, cli.submit(&folder_of(name)), expected));
    }
    let is_old = engine::major_version() < 23;
    let wrong = jobs.into_iter().filter_map(|(name, id, expected)| {
        let wrong = if is_old && name == TOO_NEW.0 {
            is_too_new(&cli, id)
        } else {
            judge(&cli, id, expected)
        };
        wrong.map(|wrong| format!("--- {name}: {wrong}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_of_one_gibibyte_arrives_whole() {
    let _bases = Bases::shared();
    let master = Standalone::start(0);
    let cli = master.admin();
    let bundle = copy("large-file");
    let path = bundle.path().join("weights.bin");
    let mut random = File::open("/dev/urandom")
        .expect("random bytes")
        .take(ByteSize::GIB);
    let mut file = File::create(&path).expect("a file");
    std::io::copy(&mut random, &mut file).expect("written");
    let mut sum = Command::new("md5sum");
    sum.stdin(File::open(&path).expect("a file"));
    let sum = sum.output().expect("md5sum runs").stdout;
    let sum = String::from_utf8_lossy(&sum);
    let id = cli.submit(bundle.path());
    let wrong = judge(&cli, id, &format!("{}\n{sum}", ByteSize::GIB));
    assert_eq!(wrong, None);
}

/// The first of these variables that is set.
fn variable(names: &[&str]) -> Option<String> {
    let set = names.iter().filter_map(|name| std::env::var(name).ok());
    set.into_iter().find(|value| !value.is_empty())
}

/// The address of a URL's host.
fn address(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let port = if scheme == "http" { 80 } else { 443 };
    match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:{port}"),
    }
}

/// Whether this machine and the engine's own containers reach an address.
fn is_reached(address: &str) -> bool {
    let found = address.to_socket_addrs().into_iter().flatten().next();
    if found.is_none_or(|to| TcpStream::connect_timeout(&to, Duration::from_secs(5)).is_err()) {
        return false;
    }
    let connect = "import socket, sys; socket.create_connection(sys.argv[1].rsplit(':', 1), 5)";
    let mut docker = Command::new("docker");
    docker.args(["run", "--rm", "python:3.12-slim", "python3", "-c", connect]);
    let output = docker.arg(address).output().expect("docker runs");
    output.status.success()
}

/// With this machine's own index, proxy and certificates, set as an administrator sets them.
#[test]
fn pip_installs_from_the_index_in_a_build_and_in_a_job() {
    let index = variable(&["PIP_INDEX_URL"]);
    let index = index.unwrap_or_else(|| "https://pypi.org/simple".to_owned());
    let proxy = variable(&["HTTPS_PROXY", "https_proxy"]);
    let _bases = Bases::shared();
    if !is_reached(&address(proxy.as_deref().unwrap_or(&index))) {
        // Past the capture of the tests' output.
        let told = writeln!(
            std::io::stderr(),
            "\nSKIPPED pip_installs_from_the_index: this machine's containers cannot reach {index}"
        );
        return told.unwrap_or_default();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let certificates = variable(&["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"]);
    let certificates = certificates.unwrap_or_else(|| "/etc/ssl/certs/ca-certificates.crt".into());
    let settings = put(
        "pip.conf",
        format!("[global]\nindex-url = {index}\ncert = /etc/dopq/ca.pem\n"),
    );
    let files = format!("{settings}:/etc/pip.conf,{certificates}:/etc/dopq/ca.pem");
    let proxies = proxy.map_or_else(
        || json!({}),
        |url| json!({"httpProxy": url, "httpsProxy": url}),
    );
    let config = put(
        "config.json",
        json!({"proxies": {"default": proxies}}).to_string(),
    );
    let master = Standalone::start_with(
        0,
        &[
            ("DOPQ_WORKER_DOCKER_CONFIG", &config),
            ("DOPQ_WORKER_DOCKER_FILES", &files),
        ],
    );
    let cli = master.admin();
    let id = cli.submit(&folder_of("pip"));
    assert_eq!(judge(&cli, id, "six 1.17.0 idna 3.10\n"), None);
}

#[test]
fn what_init_writes_runs() {
    let _bases = Bases::shared();
    let master = Standalone::start(0);
    let cli = master.admin();
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    drop(cli.run(&["init", "--template", "plain", &place]).ok());
    let answer = cli.run(&["submit", &place, "--follow"]).ok();
    let text = answer.text();
    assert!(text.contains("job 1 attempt 1\n"), "{text}");
    let into = folder.path().join("results");
    let into_text = into.display().to_string();
    drop(cli.run(&["fetch", "last", "--into", &into_text]).ok());
    let results = fs::read_to_string(into.join("result.txt"));
    assert_eq!(results.ok().as_deref(), Some("done\n"));
}
