//! `dopq forward`: ports of a container, and of nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use dopq_tests::bundle::Bundle;
use dopq_tests::cli::Cli;
use dopq_tests::wait_for;
use serde_json::json;

use crate::cluster::Cluster;

/// Serves a folder on the container's loopback alone.
const SERVER: &str = "
mkdir /www; dd if=/dev/urandom of=/www/file bs=1024 count=4096 2>/dev/null
exec httpd -f -p 127.0.0.1:8000 -h /www
";

/// A `dopq forward` that runs.
struct Forward {
    child: Child,
    address: String,
}

impl Forward {
    fn start(cli: &Cli, job: &str, port: &str) -> Self {
        let mut child = cli
            .command(&["forward", job, port])
            .stderr(Stdio::piped())
            .spawn()
            .expect("dopq runs");
        let stderr = child.stderr.as_mut().expect("a pipe");
        let mut line = String::new();
        BufReader::new(stderr).read_line(&mut line).expect("a line");
        let address = line.split(' ').next().unwrap_or_default();
        let address = address.strip_prefix("http://").expect("an address");
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// The body of an answer.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        answer
            .starts_with(b"HTTP/1.1 200")
            .then(|| answer.split_off(head + 4))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_port_of_a_container_is_reached_and_nothing_else() {
    let cluster = Cluster::start_with(&[("gpu-a", 2)], &[("DOPQ_ALLOW_HOST_NETWORK", "true")]);
    let admin = cluster.admin();
    let (anna, bert) = (admin.add_user("anna"), admin.add_user("bert"));
    let isolated = Bundle::script("anna", "server", SERVER).with("network", json!("none"));
    let of_host = Bundle::script("anna", "host", "sleep 1000").with("network", json!("host"));
    let server = anna.submit(isolated.path()).to_string();
    let host = anna.submit(of_host.path()).to_string();
    for job in [&server, &host] {
        wait_for("the job to run", Duration::from_secs(90), || {
            let job = anna.json(&["show", job]);
            (job["state"] == json!("running")).then_some(())
        });
    }
    let sum = || anna.run(&["exec", &server, "md5sum", "/www/file"]).text();
    wait_for("the file", Duration::from_secs(30), || {
        anna.run(&["exec", &server, "sh", "-c", "pidof httpd"])
            .text()
            .trim()
            .parse::<u32>()
            .ok()
    });

    let forward = Forward::start(&anna, &server, "8000:0");
    // Several at once.
    let bodies: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| forward.get("/file").expect("an answer")))
            .collect();
        let bodies = asking
            .into_iter()
            .map(|asking| asking.join().expect("no panic"));
        bodies.collect()
    });
    assert!(
        bodies
            .iter()
            .all(|body| body.len() == 4 << 20 && *body == bodies[0])
    );
    let copied = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(copied.path(), &bodies[0]).expect("written");
    let here = std::process::Command::new("md5sum")
        .arg(copied.path())
        .output();
    let here = String::from_utf8_lossy(&here.expect("md5sum runs").stdout).into_owned();
    assert_eq!(here.split(' ').next(), sum().split(' ').next());

    // The master's own port is open on this machine, and not in the container.
    let url = cluster.master.url();
    let port = url.rsplit(':').next().expect("a port");
    let wrong = Forward::start(&anna, &server, &format!("{port}:0"));
    assert_eq!(wrong.get("/healthz"), None);
    let wrong = Forward::start(&anna, &host, &format!("{port}:0"));
    assert_eq!(wrong.get("/healthz"), None);
    let foreign = Forward::start(&bert, &server, "8000:0");
    assert_eq!(foreign.get("/file"), None);

    drop(anna.run(&["cancel", &server]).ok());
    wait_for("the end of the job", Duration::from_secs(60), || {
        forward.get("/file").is_none().then_some(())
    });
}
