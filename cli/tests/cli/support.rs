//! A master that answers by script: enough HTTP to test the program against answers that a real master
//! gives rarely, such as a stream that breaks in the middle.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use dopq_common::api::Job;
use serde_json::{Value, json};

/// What the program sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query string.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How often the same method and path came before.
    pub(crate) before: usize,
}

impl Request {
    /// Method and path without its query.
    pub(crate) fn route(&self) -> String {
        let path = self.path.split('?').next().unwrap_or("");
        format!("{} {path}", self.method)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The bytes of an answer; after them the connection is closed.
#[derive(Debug, Clone)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// An answer with a length.
    pub(crate) fn new(status: u16, kind: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string().as_bytes())
    }

    /// An error as the API tells it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"error": {"code": code, "message": message, "hint": "a hint"}}),
        )
    }

    /// Closes the connection without an answer.
    pub(crate) fn nothing() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self(
            format!(
                "HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .into_bytes(),
        )
    }

    /// A stream of events that ends as it should.
    pub(crate) fn events(text: &str) -> Self {
        let mut reply = Self::broken_events(text);
        reply.0.extend_from_slice(b"0\r\n\r\n");
        reply
    }

    /// A stream of events whose connection breaks after the text.
    pub(crate) fn broken_events(text: &str) -> Self {
        Self(
            format!(
                "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\
                 connection: close\r\n\r\n{:x}\r\n{text}\r\n",
                text.len()
            )
            .into_bytes(),
        )
    }
}

/// The server; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request with what the script says.
    pub(crate) fn start(script: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    serve(&stream.unwrap(), &requests, &script);
                }
            })
        };
        Self {
            address,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Those of one route.
    pub(crate) fn of(&self, route: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.route() == route);
        requests
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread up, so that it sees the flag.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<Request>>, script: &impl Fn(&Request) -> Reply) {
    let Some(mut request) = read(stream) else {
        return;
    };
    {
        let mut all = requests.lock().unwrap();
        request.before = all
            .iter()
            .filter(|other| other.route() == request.route())
            .count();
        all.push(request.clone());
    }
    let mut stream = stream;
    // The program may be gone already; that is its right.
    stream.write_all(&script(&request).0).ok();
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
        before: 0,
    })
}

/// The program, with a home of its own and without the caller's settings.
pub(crate) fn dopq(home: &Path, server: &Server, arguments: &[&str]) -> Output {
    command(home, &server.url(), arguments).output().unwrap()
}

/// The same, to be run by the test.
pub(crate) fn command(home: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dopq"));
    command
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .env("TZ", "UTC")
        .env("DOPQ_URL", url)
        .env("DOPQ_TOKEN", "dopq_test");
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A job as the API shows it.
pub(crate) fn job(id: u64, state: &str, outcome: Option<(&str, Option<i32>)>) -> Value {
    let value = json!({
        "id": id, "name": "train", "user": "anna", "state": state,
        "outcome": outcome.map(|(cause, exit_code)| json!({
            "cause": cause, "exit_code": exit_code, "detail": "the facts", "hint": "the advice"
        })),
        "attempt": 1, "worker": "gpu01", "gpus": ["GPU-1"], "submitted_at": "2026-11-24T07:00:00Z",
        "started_at": "2026-11-24T07:00:09Z",
        "finished_at": outcome.map(|_| "2026-11-24T07:03:29Z"),
        "position": null, "reason": null, "class": "normal", "priority": 0, "num_gpus": 1, "gpu_milli": 1000,
        "bundle": "00", "labels": {}, "log_bytes": null
    });
    // Whatever the API's own type would not read is no answer of a master.
    serde_json::from_value::<Job>(value.clone()).unwrap();
    value
}
