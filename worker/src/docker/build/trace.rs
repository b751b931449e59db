//! A build's progress: the lines of its log, as `docker build --progress=plain` prints them, and the step that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{
    StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning,
};
use bytes::Bytes;

/// The longest line; longer ones are split.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// The least time between two states of a progress bar, which a program writes over each other.
const BAR_PAUSE: Duration = Duration::from_secs(1);

/// The step that asks for a base image's description, before the image's whole name.
pub(super) const METADATA: &str = "[internal] load metadata for ";

/// The step that gets an image for `COPY --from` or `RUN --mount=from`, before the image's whole name.
const IMAGE: &str = "FROM ";

/// The begin of the flags that steps have for the administrator's files; see
/// [`with_secrets`](dopq_common::bundle::dockerfile::with_secrets).
const SHARED: &str = "--mount=type=secret,id=/";

/// The longest name of a step that is printed, in characters.
const NAME_MAX_CHARS: usize = 200;

/// BuildKit's end of the message of a step that it stopped because another failed.
const CANCELED: &str = "context canceled";

/// Begins of the names of sources on the network.
const REMOTE: [&str; 4] = ["http://", "https://", "git://", "ssh://"];

/// A build's steps so far.
#[derive(Debug, Default)]
pub(super) struct Trace {
    steps: BTreeMap<String, Step>,
    numbers: u32,
    /// Base images that steps have begun to ask for, and that nobody has taken.
    bases: Vec<String>,
    remote: Option<String>,
}

/// One of BuildKit's vertices.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Such as `[2/4] RUN make`.
    pub(super) name: String,
    /// What made it fail; empty otherwise.
    pub(super) error: String,
    /// Whether it came to its end.
    pub(super) is_done: bool,
    /// In the order of their starts, from 1.
    number: Option<u32>,
    started: Option<Duration>,
    is_told: bool,
    /// What its program wrote after the last end of a line.
    open: Vec<u8>,
    /// When a state of a progress bar was last printed.
    bar: Option<Duration>,
    /// Parts that were told.
    parts: BTreeSet<String>,
}

impl Step {
    /// Whether it failed by itself.
    fn failed(&self) -> bool {
        !self.error.is_empty() && !self.error.ends_with(CANCELED)
    }
}

impl Trace {
    /// Adds news and returns the lines that they make.
    pub(super) fn take(&mut self, news: StatusResponse) -> Vec<Bytes> {
        let mut lines = Vec::new();
        let (mut ended, mut others): (Vec<_>, Vec<_>) = news
            .vertexes
            .into_iter()
            .partition(|vertex| vertex.completed.is_some());
        // A step's output comes before its end, and after its start.
        for vertex in others.iter_mut().chain(&mut ended) {
            self.begin(vertex, &mut lines);
        }
        for status in news.statuses {
            self.part(&status, &mut lines);
        }
        for log in news.logs {
            self.print(&log, &mut lines);
        }
        for warning in news.warnings {
            self.warn(&warning, &mut lines);
        }
        for vertex in ended {
            self.end(vertex, &mut lines);
        }
        lines
    }

    /// The step that made the build fail.
    pub(super) fn failed(&self) -> Option<&Step> {
        let failed = self.steps.values().filter(|step| step.failed());
        failed.min_by_key(|step| step.number.unwrap_or(u32::MAX))
    }

    /// The base images that steps have asked for since the last call.
    pub(super) fn take_bases(&mut self) -> Vec<String> {
        std::mem::take(&mut self.bases)
    }

    /// The name of a step that fetches a URL or a repository from the machine's network.
    pub(super) fn remote(&self) -> Option<&str> {
        self.remote.as_deref()
    }

    /// Whether a step of this name came to its end.
    pub(super) fn has_done(&self, begin: &str) -> bool {
        let mut steps = self.steps.values();
        steps.any(|step| step.is_done && step.error.is_empty() && step.name.starts_with(begin))
    }

    fn begin(&mut self, vertex: &mut Vertex, lines: &mut Vec<Bytes>) {
        if self.remote.is_none() && is_remote(vertex) {
            self.remote = Some(brief(&vertex.name));
        }
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        if !vertex.name.is_empty() {
            let name = std::mem::take(&mut vertex.name);
            let base = [METADATA, IMAGE]
                .iter()
                .find_map(|begin| name.strip_prefix(begin));
            self.bases
                .extend(base.filter(|_| step.name.is_empty()).map(str::to_owned));
            step.name = brief(&as_written(&name));
        }
        step.started = vertex.started.map(since_epoch).or(step.started);
        if step.number.is_none() && (step.started.is_some() || !vertex.error.is_empty()) {
            self.numbers += 1;
            step.number = Some(self.numbers);
            lines.push(Bytes::from(format!("#{} {}\n", self.numbers, step.name)));
        }
    }

    fn end(&mut self, vertex: Vertex, lines: &mut Vec<Bytes>) {
        let Some(step) = self.steps.get_mut(&vertex.digest) else {
            return;
        };
        step.is_done = true;
        step.error = vertex.error;
        let Some(number) = step
            .number
            .filter(|_| !std::mem::replace(&mut step.is_told, true))
        else {
            return;
        };
        let open = std::mem::take(&mut step.open);
        if !open.trim_ascii_end().is_empty() {
            lines.push(line(number, None, open.trim_ascii_end()));
        }
        let took = vertex.completed.map(since_epoch).zip(step.started);
        let took = took.map_or(Duration::ZERO, |(end, start)| end.saturating_sub(start));
        let end = if step.error.ends_with(CANCELED) {
            "CANCELED".to_owned()
        } else if !step.error.is_empty() {
            format!("ERROR: {}", step.error.trim_end())
        } else if vertex.cached {
            "CACHED".to_owned()
        } else {
            format!("DONE {:.1}s", took.as_secs_f64())
        };
        lines.push(line(number, None, end.as_bytes()));
    }

    /// A download or upload of a step: only its end is told.
    fn part(&mut self, status: &VertexStatus, lines: &mut Vec<Bytes>) {
        let Some(step) = self.steps.get_mut(&status.vertex) else {
            return;
        };
        let (Some(number), Some(_)) = (step.number, status.completed) else {
            return;
        };
        if step.parts.insert(status.id.clone()) {
            let size = dopq_common::resources::ByteSize(u64::try_from(status.current).unwrap_or(0));
            let text = match size.0 {
                0 => format!("{} done", brief(&status.id)),
                _ => format!("{} {size} done", brief(&status.id)),
            };
            lines.push(line(number, None, text.as_bytes()));
        }
    }

    /// The output of a step's program. A carriage return starts a line over; such states of a progress bar become lines
    /// of their own, one a second at most.
    fn print(&mut self, log: &VertexLog, lines: &mut Vec<Bytes>) {
        let Some(step) = self.steps.get_mut(&log.vertex) else {
            return;
        };
        let Some(number) = step.number else { return };
        let now = log.timestamp.map_or(Duration::ZERO, since_epoch);
        let after = step.started.map(|started| now.saturating_sub(started));
        for part in log.msg.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            // Unless a newline follows the carriage return, the text before it is a state of a bar.
            if step.open.ends_with(b"\r") && part != b"\n" {
                let state = std::mem::take(&mut step.open);
                let state = state.trim_ascii_end();
                let pauses = step
                    .bar
                    .is_none_or(|bar| now.saturating_sub(bar) >= BAR_PAUSE);
                if pauses && !state.is_empty() {
                    step.bar = Some(now);
                    lines.push(line(number, after, state));
                }
            }
            step.open.extend_from_slice(part);
            if part.ends_with(b"\n") || step.open.len() > LINE_MAX_BYTES {
                let text = std::mem::take(&mut step.open);
                lines.push(line(number, after, text.trim_ascii_end()));
            }
        }
    }

    fn warn(&mut self, warning: &VertexWarning, lines: &mut Vec<Bytes>) {
        let number = self.steps.get(&warning.vertex).and_then(|step| step.number);
        if let Some(number) = number {
            let text = [b"WARNING: ", &warning.short[..]].concat();
            lines.push(line(number, None, &text));
        }
    }
}

/// Whether a vertex is a source on the network, other than an image. Its name is its URL or, since BuildKit 0.14, the
/// instruction. An `ADD` of files has those as an input.
fn is_remote(vertex: &Vertex) -> bool {
    let name = vertex.name.as_str();
    let instruction = name
        .split_once("] ")
        .filter(|(begin, _)| begin.starts_with('['))
        .map_or(name, |(_, instruction)| instruction);
    let instruction = instruction.strip_prefix("ONBUILD ").unwrap_or(instruction);
    let is_url = REMOTE.iter().any(|scheme| name.starts_with(scheme));
    is_url || (instruction.starts_with("ADD ") && vertex.inputs.is_empty())
}

fn line(number: u32, after: Option<Duration>, text: &[u8]) -> Bytes {
    let mut line = match after {
        Some(after) => format!("#{number} {:.3} ", after.as_secs_f64()),
        None => format!("#{number} "),
    }
    .into_bytes();
    line.extend_from_slice(text);
    line.push(b'\n');
    Bytes::from(line)
}

fn since_epoch(time: Timestamp) -> Duration {
    let secs = u64::try_from(time.seconds).unwrap_or(0);
    Duration::new(
        secs,
        u32::try_from(time.nanos).unwrap_or(0).min(999_999_999),
    )
}

/// A step's name as the user wrote it.
fn as_written(name: &str) -> String {
    let words = name.split(' ').filter(|word| !word.starts_with(SHARED));
    words.collect::<Vec<_>>().join(" ")
}

/// One line that is not too long.
fn brief(name: &str) -> String {
    let name = name.replace(['\n', '\r'], " ");
    let mut brief: String = name.chars().take(NAME_MAX_CHARS).collect();
    if brief.len() < name.len() {
        brief.push('…');
    }
    brief
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, millis: i32) -> Option<Timestamp> {
        Some(Timestamp {
            seconds,
            nanos: millis * 1_000_000,
        })
    }

    fn vertex(digest: &str, name: &str) -> Vertex {
        Vertex {
            digest: digest.to_owned(),
            name: name.to_owned(),
            ..Vertex::default()
        }
    }

    fn told(trace: &mut Trace, news: StatusResponse) -> Vec<String> {
        let lines = trace.take(news).into_iter();
        lines
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect()
    }

    fn printed(trace: &mut Trace, millis: i32, text: &str) -> Vec<String> {
        let log = VertexLog {
            vertex: "a".to_owned(),
            timestamp: at(10 + i64::from(millis / 1000), millis % 1000),
            msg: text.as_bytes().to_vec(),
            ..VertexLog::default()
        };
        let news = StatusResponse {
            logs: vec![log],
            ..StatusResponse::default()
        };
        told(trace, news)
    }

    fn steps(vertexes: impl Into<Vec<Vertex>>) -> StatusResponse {
        StatusResponse {
            vertexes: vertexes.into(),
            ..StatusResponse::default()
        }
    }

    fn started() -> Trace {
        let mut trace = Trace::default();
        let started = Vertex {
            started: at(10, 0),
            ..vertex("a", "[2/4] RUN make")
        };
        let lines = told(&mut trace, steps([vertex("b", "[3/4] COPY x y"), started]));
        assert_eq!(
            lines,
            ["#1 [2/4] RUN make\n"],
            "only what has begun is told"
        );
        trace
    }

    #[test]
    fn base_images_are_known_once_and_flags_of_our_own_are_not_told() {
        let mut trace = Trace::default();
        let begun = |digest: &str, name: &str| Vertex {
            started: at(10, 0),
            ..vertex(digest, name)
        };
        let asked = begun("a", "[internal] load metadata for docker.io/library/x:1");
        let news = steps([
            asked.clone(),
            begun("b", "FROM y:2"),
            begun("c", "[1/2] FROM docker.io/library/x:1"),
            begun(
                "d",
                "[2/2] RUN --mount=type=secret,id=/a,target=/a,mode=0444 --network=none FROM z",
            ),
        ]);
        let lines = told(&mut trace, news);
        assert_eq!(
            lines.last().expect("a line"),
            "#4 [2/2] RUN --network=none FROM z\n"
        );
        assert_eq!(trace.take_bases(), ["docker.io/library/x:1", "y:2"]);
        told(&mut trace, steps([asked]));
        assert!(trace.take_bases().is_empty());
    }

    #[test]
    fn steps_are_told_as_people_know_them() {
        let mut trace = started();
        assert_eq!(printed(&mut trace, 250, "one\ntw"), ["#1 0.250 one\n"]);
        assert_eq!(printed(&mut trace, 1_500, "o\r\nrest"), ["#1 1.500 two\n"]);
        let status = VertexStatus {
            id: "transferring context:".to_owned(),
            vertex: "a".to_owned(),
            current: 2048,
            completed: at(11, 0),
            ..VertexStatus::default()
        };
        let ended = Vertex {
            started: at(10, 0),
            completed: at(12, 340),
            ..vertex("a", "")
        };
        let cached = Vertex {
            cached: true,
            started: at(12, 0),
            completed: at(12, 0),
            ..vertex("b", "[3/4] COPY x y")
        };
        let news = StatusResponse {
            vertexes: vec![ended.clone(), cached],
            statuses: vec![status.clone(), status],
            ..StatusResponse::default()
        };
        let expected = [
            "#2 [3/4] COPY x y\n",
            "#1 transferring context: 2 KiB done\n",
            "#1 rest\n",
            "#1 DONE 2.3s\n",
            "#2 CACHED\n",
        ];
        assert_eq!(told(&mut trace, news), expected);
        assert_eq!(
            told(&mut trace, steps([ended])),
            [""; 0],
            "each end is told once"
        );
        assert!(trace.failed().is_none());
        assert!(trace.has_done("[3/4]") && !trace.has_done("[4/4]"));
    }

    #[test]
    fn a_progress_bar_shows_once_a_second() {
        let mut trace = started();
        assert_eq!(printed(&mut trace, 0, "1%\r2%\r"), ["#1 0.000 1%\n"]);
        assert_eq!(printed(&mut trace, 400, "3%\r"), [""; 0]);
        assert_eq!(printed(&mut trace, 1_400, "4%\r"), ["#1 1.400 3%\n"]);
        assert_eq!(
            printed(&mut trace, 1_500, "100%\ndone\r"),
            ["#1 1.500 100%\n"]
        );
        assert_eq!(printed(&mut trace, 1_600, "\n"), ["#1 1.600 done\n"]);
    }

    #[test]
    fn the_step_that_failed_is_not_one_that_was_stopped_for_it() {
        let mut trace = started();
        let failed = |digest: &str, error: &str| Vertex {
            error: error.to_owned(),
            started: at(11, 0),
            completed: at(11, 0),
            ..vertex(digest, "")
        };
        let news = steps([
            failed("a", "x: context canceled"),
            failed("b", "exit code: 7\n"),
        ]);
        let expected = [
            "#2 [3/4] COPY x y\n",
            "#1 CANCELED\n",
            "#2 ERROR: exit code: 7\n",
        ];
        assert_eq!(told(&mut trace, news), expected);
        assert_eq!(
            trace.failed().map(|step| &*step.name),
            Some("[3/4] COPY x y")
        );
    }

    #[test]
    fn a_source_on_the_network_is_seen() {
        let local = |name: &str| Vertex {
            inputs: vec!["sha256:0".to_owned()],
            ..vertex("x", name)
        };
        for (vertex, is_remote) in [
            (vertex("x", "http://h/x"), true),
            (vertex("x", "https://h/x"), true),
            (vertex("x", "git://h/x#main"), true),
            (vertex("x", "[build 2/3] ADD http://h/x /"), true),
            (vertex("x", "[2/3] ONBUILD ADD  /"), true),
            (local("[2/3] ADD http://h/x /"), false),
            (local("[2/3] ADD a b"), false),
            (vertex("x", "[1/2] FROM docker.io/library/a"), false),
            (vertex("x", "[internal] load build context"), false),
            (vertex("x", "[2/3] RUN x] ADD http://h /"), false),
            (vertex("x", "[2/3] RUN curl http://h"), false),
        ] {
            let name = vertex.name.clone();
            let mut trace = started();
            trace.take(steps([vertex]));
            assert_eq!(trace.remote().is_some(), is_remote, "{name}");
        }
    }

    #[test]
    fn lines_and_names_have_a_longest() {
        let mut trace = started();
        let lines = printed(&mut trace, 0, &"x".repeat(LINE_MAX_BYTES + 1));
        assert_eq!(lines.len(), 1);
        assert_eq!(
            brief(&"\u{e9}\n".repeat(200)).chars().count(),
            NAME_MAX_CHARS + 1
        );
    }
}
