//! Reads a build's progress: lines for the log, and the failed step.

use bollard::errors::Error as ApiError;
use bollard::models::BuildInfo;
use bytes::Bytes;

use super::partial::LastLayer;

/// The longest line; longer ones are split.
const LINE_MAX_BYTES: usize = 16 * 1024;

/// The longest step that a message quotes, in characters.
const STEP_MAX_CHARS: usize = 200;

/// The prefix of a loaded image's id.
const LOADED: &str = "Loaded image ID: ";

/// Exit code after SIGKILL, as from the kernel at a memory limit.
const KILLED: i64 = 137;

/// A build's output so far.
#[derive(Debug)]
pub(super) struct Progress {
    /// Whether this is a load, which prints its image's id. A build's lines come from the user and prove nothing.
    loads: bool,
    line: String,
    step: Option<String>,
    image: Option<String>,
    last: LastLayer,
}

impl Progress {
    /// The start of a build; it reports its layers to `last`.
    pub(super) fn of_build(last: LastLayer) -> Self {
        Self {
            last,
            loads: false,
            line: String::new(),
            step: None,
            image: None,
        }
    }

    /// The start of a load.
    pub(super) fn of_load() -> Self {
        Self {
            loads: true,
            ..Self::of_build(LastLayer::default())
        }
    }

    /// Processes one message of the engine and returns the completed lines.
    pub(super) fn take(&mut self, info: BuildInfo) -> Vec<Bytes> {
        let mut lines = Vec::new();
        if let Some(text) = info.stream {
            self.write(&text, &mut lines);
        }
        // A download reports its progress many times a second; log only milestones.
        let moving = info
            .progress_detail
            .is_some_and(|detail| detail.current.is_some() || detail.total.is_some());
        if let Some(status) = info.status.filter(|_| !moving) {
            let of = info.id.map(|id| format!("{id}: ")).unwrap_or_default();
            self.write(&format!("{of}{status}\n"), &mut lines);
        }
        if let Some(image) = info.aux.and_then(|aux| aux.id) {
            self.image = Some(image);
        }
        lines
    }

    /// Processes an error at the end and returns the last lines, including the engine's message.
    pub(super) fn fail(&mut self, error: &ApiError) -> Vec<Bytes> {
        let words = match error {
            ApiError::DockerStreamError { error } => error.clone(),
            ApiError::DockerResponseServerError { message, .. } => message.clone(),
            other => other.to_string(),
        };
        let mut lines = self.rest();
        self.write(&format!("{}\n", words.trim_end()), &mut lines);
        lines
    }

    /// The last line, if it has no newline.
    pub(super) fn rest(&mut self) -> Vec<Bytes> {
        let rest = std::mem::take(&mut self.line);
        let rest = (!rest.is_empty()).then(|| Bytes::from(rest + "\n"));
        rest.into_iter().collect()
    }

    /// The image's id, once it exists.
    pub(super) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// The present step, such as `step 3/5: RUN make`.
    pub(super) fn step(&self) -> Option<&str> {
        self.step.as_deref()
    }

    /// One line: the step and the engine's message.
    pub(super) fn detail(&self, words: &str) -> String {
        let what = match exit_code(words) {
            Some(KILLED) => format!("exit code {KILLED} (killed; build steps have a memory limit)"),
            Some(code) => format!("exit code {code}"),
            None => words.trim().replace('\n', " "),
        };
        match &self.step {
            Some(step) => format!("{step}: {what}"),
            None => what,
        }
    }

    fn write(&mut self, text: &str, lines: &mut Vec<Bytes>) {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if part.ends_with('\n') || self.line.len() > LINE_MAX_BYTES {
                let line = std::mem::take(&mut self.line);
                if self.loads {
                    let id = line.trim_end().strip_prefix(LOADED);
                    self.image = id.map(str::to_owned).or_else(|| self.image.take());
                } else if let Some(step) = step(&line) {
                    self.step = Some(step);
                } else {
                    self.last.read(line.as_bytes());
                }
                lines.push(Bytes::from(line));
            }
        }
    }
}

/// Reads the engine's `The command '…' returned a non-zero code: 2`.
fn exit_code(words: &str) -> Option<i64> {
    let (_, code) = words.trim().rsplit_once(" returned a non-zero code: ")?;
    code.parse().ok()
}

/// Reads the classic builder's `Step 3/5 : RUN make`. A command can print such a line too; then the error message names
/// the wrong step.
fn step(line: &str) -> Option<String> {
    let (count, instruction) = line.strip_prefix("Step ")?.trim_end().split_once(" : ")?;
    let (at, of) = count.split_once('/')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !number(at) || !number(of) {
        return None;
    }
    let mut instruction: String = instruction.chars().take(STEP_MAX_CHARS + 1).collect();
    if instruction.chars().count() > STEP_MAX_CHARS {
        instruction.pop();
        instruction.push('…');
    }
    Some(format!("step {at}/{of}: {instruction}"))
}

#[cfg(test)]
mod tests {
    use bollard::models::{ImageId, ProgressDetail};

    use super::*;

    fn said(text: &str) -> BuildInfo {
        BuildInfo {
            stream: Some(text.to_owned()),
            ..BuildInfo::default()
        }
    }

    #[test]
    fn a_failure_is_told_with_its_step() {
        let cases = [
            (
                "The command '/bin/sh -c make' returned a non-zero code: 2",
                "step 3/5: RUN make: exit code 2",
            ),
            (
                "The command 'a returned a non-zero code: 1' returned a non-zero code: 137",
                "step 3/5: RUN make: exit code 137 (killed; build steps have a memory limit)",
            ),
            (
                "COPY failed: no such file\n",
                "step 3/5: RUN make: COPY failed: no such file",
            ),
        ];
        let mut progress = Progress::of_build(LastLayer::default());
        assert_eq!(progress.detail("parse error\nline 1"), "parse error line 1");
        progress.take(said("Step 2/5 : FROM a\n"));
        progress.take(said("Step 3/5 :"));
        progress.take(said(" RUN make\n"));
        for (words, detail) in cases {
            assert_eq!(progress.detail(words), detail);
        }
    }

    #[test]
    fn lines_are_whole_and_downloads_are_brief() {
        let mut progress = Progress::of_build(LastLayer::default());
        assert_eq!(progress.take(said("a")), Vec::<Bytes>::new());
        assert_eq!(progress.take(said("b\nc\nd")), ["ab\n", "c\n"]);
        let moving = BuildInfo {
            status: Some("Downloading".to_owned()),
            progress_detail: Some(ProgressDetail {
                current: Some(1),
                total: Some(2),
            }),
            ..BuildInfo::default()
        };
        assert_eq!(progress.take(moving), Vec::<Bytes>::new());
        let error = ApiError::DockerStreamError {
            error: "no\n".to_owned(),
        };
        assert_eq!(progress.fail(&error), ["d\n", "no\n"]);
        assert_eq!(progress.rest(), Vec::<Bytes>::new());
        assert_eq!(progress.image(), None);
        progress.take(BuildInfo {
            aux: Some(ImageId {
                id: Some("sha256:1".to_owned()),
            }),
            ..BuildInfo::default()
        });
        assert_eq!(progress.image(), Some("sha256:1"));
    }

    #[test]
    fn only_a_load_names_its_image_in_a_line() {
        for (mut progress, image) in [
            (Progress::of_build(LastLayer::default()), None),
            (Progress::of_load(), Some("sha256:1")),
        ] {
            progress.take(said("Loaded image ID: sha256:1\n"));
            assert_eq!(progress.image(), image);
        }
    }

    #[test]
    fn only_the_builder_s_own_form_is_a_step() {
        assert_eq!(
            step("Step 1/2 : FROM a\n").as_deref(),
            Some("step 1/2: FROM a")
        );
        for line in [
            "Step 1/2: FROM a\n",
            "Step x/2 : a\n",
            "Step 1 : a\n",
            " Step 1/2 : a\n",
        ] {
            assert_eq!(step(line), None, "{line:?}");
        }
        let long = step(&format!("Step 1/2 : {}\n", "é".repeat(500))).expect("a step");
        assert_eq!(
            long.chars().count(),
            "step 1/2: ".len() + STEP_MAX_CHARS + 1
        );
    }
}
