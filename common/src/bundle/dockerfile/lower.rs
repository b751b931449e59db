//! Rewrites what the built-in frontend of engines before 23.0 does not know: here-documents of `RUN`, and `--link`.
//!
//! Those engines read Dockerfile 1.2, and would take a here-document's lines for instructions.

use std::collections::BTreeMap;

use super::read::{Document, Flag, Instruction, Parts, continued, head, instructions};
use super::words::Version;

/// The version of BuildKit whose here-documents are rewritten. In later ones a blank may follow `<<`, which is a shift
/// in most files for such engines.
const VERSION: Version = Version::V15;

/// The shell of a stage without `SHELL`.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where a script with an interpreter of its own is written, in memory.
const SCRIPTS: &str = "/dev/pipes";

/// Rewrites a text for such an engine. Lines keep their numbers.
///
/// # Errors
/// The line and what of it cannot be rewritten.
pub(super) fn lower(text: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut shells = Shells::default();
    let mut out = String::with_capacity(text.len());
    let mut written = 0;
    let escape = head(text).escape();
    for instruction in instructions(text, escape, VERSION) {
        let line = instruction.line;
        if let Some(trouble) = &instruction.trouble {
            return Err(format!("line {line}: {}", trouble.text()));
        }
        let parts = Parts::of(&instruction.text, escape);
        shells.follow(&parts);
        let rewritten = rewrite(&instruction, &parts, &shells.current)?;
        let before = line - 1;
        let as_it_is = lines.iter().skip(before).take(instruction.lines).copied();
        let read: Vec<&str> = match &rewritten {
            Some(rewritten) => vec![rewritten],
            None => as_it_is.collect(),
        };
        if read.iter().any(|line| is_read_differently(line, escape)) {
            return Err(format!(
                "line {line}: this machine's engine is too old for a line that ends with two `{escape}`"
            ));
        }
        let Some(rewritten) = rewritten else {
            continue;
        };
        out.extend(lines.iter().take(before).skip(written).copied());
        out.push_str(&rewritten);
        out.push('\n');
        out.extend(std::iter::repeat_n("#\n", instruction.lines - 1));
        written = before + instruction.lines;
    }
    out.extend(lines.iter().skip(written).copied());
    Ok(out)
}

/// The shells that `SHELL` set. A stage has that of the stage that it is based on.
struct Shells {
    of_stages: BTreeMap<String, Vec<String>>,
    stage: Option<String>,
    current: Vec<String>,
}

impl Default for Shells {
    fn default() -> Self {
        Self {
            of_stages: BTreeMap::new(),
            stage: None,
            current: SHELL.map(str::to_owned).to_vec(),
        }
    }
}

impl Shells {
    fn follow(&mut self, parts: &Parts) {
        match parts.word.as_str() {
            "FROM" => {
                let mut words = parts.arguments.split_whitespace();
                let base = words.next().unwrap_or_default().to_ascii_lowercase();
                let name = words.nth(1).map(str::to_ascii_lowercase);
                let inherited = self.of_stages.get(&base).cloned();
                self.current = inherited.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
                self.stage = name;
                self.keep();
            }
            "SHELL" => {
                if let Ok(shell) = serde_json::from_str(&parts.arguments) {
                    self.current = shell;
                    self.keep();
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self) {
        if let Some(stage) = &self.stage {
            self.of_stages.insert(stage.clone(), self.current.clone());
        }
    }
}

/// Whether such an engine disagrees about whether a line is continued: it does not ask what precedes the escape
/// character, and drops one carriage return only.
fn is_read_differently(line: &str, escape: char) -> bool {
    let content = line.trim_start();
    let text = line.trim_end_matches(['\r', '\n']);
    let old = line.strip_suffix('\n').unwrap_or(line);
    let old = old.strip_suffix('\r').unwrap_or(old);
    let old = old.trim_end_matches([' ', '\t']).ends_with(escape);
    !content.starts_with('#') && old != continued(text, escape).is_some()
}

/// The instruction on one line; `None` if it stays as it is.
fn rewrite(
    instruction: &Instruction<'_>,
    parts: &Parts,
    shell: &[String],
) -> Result<Option<String>, String> {
    let Parts {
        word,
        flags,
        arguments,
    } = parts;
    let too_new = |what: &str| {
        Err(format!(
            "line {}: this machine's engine is too old for {what}; its administrator can install engine 23 or newer",
            instruction.line
        ))
    };
    match (word.as_str(), &instruction.documents[..]) {
        ("RUN", [_, ..]) => {
            let (mount, command) = command(arguments, &instruction.documents, shell);
            let flags = flags.iter().map(|flag| &*flag.raw).chain(mount.as_deref());
            let flags: String = flags.map(|flag| format!("{flag} ")).collect();
            Ok(Some(format!("RUN {flags}{}", serde_json::json!(command))))
        }
        (_, [_, ..]) => too_new(&format!("here-documents in {word}")),
        ("COPY" | "ADD", []) => {
            if flags
                .iter()
                .any(|flag| flag.value.starts_with("--exclude="))
            {
                return too_new("--exclude");
            }
            let is_link =
                |flag: &&Flag| flag.value == "--link" || flag.value.starts_with("--link=");
            if !flags.iter().any(|flag| is_link(&flag)) {
                return Ok(None);
            }
            let kept = flags.iter().filter(|flag| !is_link(flag));
            let kept: String = kept.map(|flag| format!("{} ", flag.raw)).collect();
            Ok(Some(format!("{word} {kept}{arguments}")))
        }
        _ => Ok(None),
    }
}

/// The mount and the command of a `RUN` with here-documents.
fn command(
    arguments: &str,
    documents: &[Document<'_>],
    shell: &[String],
) -> (Option<String>, Vec<String>) {
    let mut command = shell.to_vec();
    let [only] = documents else {
        command.push(whole(arguments, documents));
        return (None, command);
    };
    if !arguments.trim().starts_with("<<") || arguments.split_whitespace().count() != 1 {
        command.push(whole(arguments, documents));
        return (None, command);
    }
    // The here-document is the script itself.
    let script: String = only
        .lines
        .iter()
        .map(|line| {
            if only.chomps {
                line.trim_start_matches('\t')
            } else {
                line
            }
        })
        .map(|line| format!("{line}\n"))
        .collect();
    if !script.starts_with("#!") {
        command.push(script);
        return (None, command);
    }
    // It names its interpreter, so it has to be a file.
    let file = format!("{SCRIPTS}/script");
    let run = format!("printf %s \"$0\" > {file} && chmod 755 {file} && exec {file}");
    command = SHELL.map(str::to_owned).to_vec();
    command.extend([run, script]);
    (
        Some(format!("--mount=type=tmpfs,target={SCRIPTS}")),
        command,
    )
}

/// What a shell reads: the command and its here-documents.
fn whole(arguments: &str, documents: &[Document<'_>]) -> String {
    let mut text = arguments.to_owned();
    for document in documents {
        for line in &document.lines {
            text.push('\n');
            text.push_str(line);
        }
        text.push('\n');
        text.push_str(&document.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_documents_become_arguments() {
        for (text, lowered) in [
            ("FROM a\nRUN b\n", "FROM a\nRUN b\n"),
            (
                "FROM a\nRUN <<EOF\nset -e\necho \"$X\"\nEOF\nRUN b",
                "FROM a\nRUN [\"/bin/sh\",\"-c\",\"set -e\\necho \\\"$X\\\"\\n\"]\n#\n#\n#\nRUN b",
            ),
            (
                "FROM a\nRUN --mount=type=cache,target=/x <<-E\n\ta\n\tE\n",
                "FROM a\nRUN --mount=type=cache,target=/x [\"/bin/sh\",\"-c\",\"a\\n\"]\n#\n#\n",
            ),
            (
                "FROM a\nRUN <<A cat > x &&\\\n cat <<'B'\n1\nA\n2\nB\n",
                "FROM a\nRUN [\"/bin/sh\",\"-c\",\"<<A cat > x && cat <<'B'\\n1\\nA\\n2\\nB\"]\n#\n#\n#\n#\n#\n",
            ),
            (
                "FROM a\nRUN <<E\n#!/bin/x\ny\nE",
                "FROM a\nRUN --mount=type=tmpfs,target=/dev/pipes [\"/bin/sh\",\"-c\",\"printf %s \\\"$0\\\" > /dev/pipes/script && chmod 755 /dev/pipes/script && exec /dev/pipes/script\",\"#!/bin/x\\ny\\n\"]\n#\n#\n#\n",
            ),
            (
                "FROM a AS b\nSHELL [\"/x\"]\nFROM c\nRUN <<E\nE\nFROM --platform=p B\nRUN <<E\nE\n",
                "FROM a AS b\nSHELL [\"/x\"]\nFROM c\nRUN [\"/bin/sh\",\"-c\",\"\"]\n#\nFROM --platform=p B\nRUN [\"/x\",\"\"]\n#\n",
            ),
            (
                "FROM a\nCOPY --link --chown=1 a\\\n  b\nADD --link=true a b\nCOPY a --link",
                "FROM a\nCOPY --chown=1 a  b\n#\nADD a b\nCOPY a --link",
            ),
            (
                "FROM a\nRUN echo $((1 << 3))\nRUN a \\\n\n  b",
                "FROM a\nRUN echo $((1 << 3))\nRUN a \\\n\n  b",
            ),
        ] {
            assert_eq!(lower(text).as_deref(), Ok(lowered), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_rewritten_is_told() {
        for (text, words) in [
            (
                "FROM a\nCOPY <<E /x\nE\n",
                "line 2: this machine's engine is too old for here-documents in COPY",
            ),
            ("FROM a\nONBUILD RUN <<E\nE\n", "in ONBUILD"),
            ("FROM a\nCOPY --exclude=x . /", "--exclude"),
            (
                "FROM a\nRUN x\\\\\nADD b /",
                "line 2: this machine's engine is too old for a line that ends",
            ),
            ("FROM a\nRUN x \\\r\r\n b", "too old for a line that ends"),
            (
                "FROM a\nCOPY --link a b\\\\",
                "too old for a line that ends",
            ),
            (
                "FROM a\nRUN <<E\n",
                "line 2: no line ends its here-document",
            ),
        ] {
            let error = lower(text).expect_err("too new");
            assert!(error.contains(words), "{error}");
        }
    }
}
