//! An image registry: without images, or with one that needs a login.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const UNKNOWN: &str = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
/// The first byte of a connection that begins with TLS.
const TLS: u8 = 0x16;
const NO_LOGIN: &str =
    r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;

/// A started registry on the loopback address, which engines talk to without TLS. It answers until the process ends.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    /// `user:password` in base64.
    auth: String,
}

/// What it has, by the end of the path: media type and content.
type Content = BTreeMap<String, (&'static str, Vec<u8>)>;

impl Registry {
    /// One that answers, and knows no manifest.
    #[must_use]
    pub fn without_images() -> Self {
        Self::start(Content::new(), None)
    }

    /// One whose only image holds busybox, and is for this user.
    #[must_use]
    pub fn with_login(user: &str, password: &str) -> Self {
        Self::start(image(), Some(STANDARD.encode(format!("{user}:{password}"))))
    }

    fn start(content: Content, auth: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let this = Self {
            address,
            auth: auth.clone().unwrap_or_default(),
        };
        let served = Arc::new((content, auth.map(|auth| format!("Basic {auth}"))));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || {
                    let (content, login) = &*served;
                    answer(&connection, content, login.as_deref()).unwrap_or_default();
                });
            }
        });
        this
    }

    /// The name of an image that it does not have.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}/no/such:image", self.address)
    }

    /// The name of the image with busybox.
    #[must_use]
    pub fn busybox(&self) -> String {
        format!("{}/team/busybox:1", self.address)
    }

    /// A Docker configuration with its login.
    #[must_use]
    pub fn docker_config(&self) -> serde_json::Value {
        json!({"auths": {(self.address.to_string()): {"auth": self.auth}}})
    }
}

/// The parts of an image with one layer, which holds busybox.
fn image() -> Content {
    let mut tar = Command::new("tar");
    let tar = tar.args(["-C", "/", "-ch", "bin/busybox"]).output();
    let layer = tar.expect("tar runs").stdout;
    assert!(!layer.is_empty(), "busybox-static is installed");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/busybox"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let part = |kind: &str, content: &[u8]| json!({"mediaType": kind, "size": content.len(), "digest": digest(content)});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": part(CONFIG, &config),
        "layers": [part(LAYER, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    Content::from([
        (
            "busybox/manifests/1".to_owned(),
            (MANIFEST, manifest.clone()),
        ),
        (
            format!("busybox/manifests/{}", digest(&manifest)),
            (MANIFEST, manifest),
        ),
        (
            format!("busybox/blobs/{}", digest(&config)),
            (CONFIG, config),
        ),
        (format!("busybox/blobs/{}", digest(&layer)), (LAYER, layer)),
    ])
}

fn digest(content: &[u8]) -> String {
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum runs");
    let mut input = sum.stdin.take().expect("piped");
    input.write_all(content).expect("written");
    drop(input);
    let output = sum.wait_with_output().expect("it ends").stdout;
    let text = String::from_utf8_lossy(&output);
    format!("sha256:{}", text.split(' ').next().unwrap_or_default())
}

fn answer(mut connection: &TcpStream, content: &Content, login: Option<&str>) -> io::Result<()> {
    let mut start = [0; 4096];
    if connection.peek(&mut start)? > 0 && start[0] == TLS {
        // As servers without TLS answer; only then does a newer engine try without.
        let _hello = connection.read(&mut start)?;
        return connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    }
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut auth = None;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        let header = line.split_once(": ");
        if let Some((_, value)) =
            header.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            auth = Some(value.to_owned());
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let found = content.iter().find(|(end, _)| path.ends_with(*end));
    let (status, kind, body) = match found {
        _ if login.is_some() && auth.as_deref() != login => {
            ("401 Unauthorized", "application/json", NO_LOGIN.as_bytes())
        }
        Some((_, (kind, body))) => ("200 OK", *kind, &body[..]),
        None if path == "/v2/" => ("200 OK", "application/json", &b"{}"[..]),
        None => ("404 Not Found", "application/json", UNKNOWN.as_bytes()),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         WWW-Authenticate: Basic realm=\"test\"\r\n\r\n",
        body.len()
    )?;
    // The answer to HEAD has no body.
    if request.starts_with("HEAD") {
        return Ok(());
    }
    connection.write_all(body)
}
