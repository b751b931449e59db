//! Splits a Dockerfile into its head of comments and its instructions, as BuildKit's parser does.

use super::super::fault::quote;
use super::words::{Keep, NoWords, Version, words};

/// The comments and empty lines before the first instruction, where builders look for directives.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// Every line with a directive in any place or form that some version of BuildKit reads.
    pub(super) directives: Vec<Directive<'a>>,
    /// Number of lines.
    pub(super) lines: usize,
    /// The first instruction's line, trimmed; empty if there is none.
    pub(super) next: &'a str,
}

/// `# name = value`.
#[derive(Debug)]
pub(super) struct Directive<'a> {
    /// Counted from 1.
    pub(super) line: usize,
    /// As written.
    pub(super) name: &'a str,
    /// Trimmed.
    pub(super) value: &'a str,
    /// Whether only directives precede it, so that it takes effect.
    pub(super) counts: bool,
}

impl Directive<'_> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction<'a> {
    /// Its first line, counted from 1.
    pub(super) line: usize,
    /// Number of its lines, here-documents included.
    pub(super) lines: usize,
    /// Its text: continued lines are joined, comments dropped.
    pub(super) text: String,
    /// Its here-documents.
    pub(super) documents: Vec<Document<'a>>,
    /// Why its here-documents are not all of them.
    pub(super) trouble: Option<Trouble>,
}

/// A here-document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The word that ends it.
    pub(super) name: String,
    /// `<<-`: tabs at the start of lines are dropped.
    pub(super) chomps: bool,
    /// Its lines.
    pub(super) lines: Vec<&'a str>,
}

/// What keeps the here-documents of an instruction from being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The line that ends the document of this name is missing.
    Endless(String),
    /// Whether it has one depends on the version of BuildKit in a way that is not followed here.
    Unclear,
}

impl Trouble {
    /// As the user is told it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Endless(name) => format!("no line ends its here-document: `{}`", quote(name)),
            Self::Unclear => {
                "it has `<<` and a variable that versions of Docker read in different ways"
                    .to_owned()
            }
        }
    }
}

/// An instruction's parts, as BuildKit splits them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// The word in capitals.
    pub(super) word: String,
    /// Flags such as `--from=x`.
    pub(super) flags: Vec<Flag>,
    /// What follows.
    pub(super) arguments: String,
}

/// A flag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// As written.
    pub(super) raw: String,
    /// Without quotes and escapes.
    pub(super) value: String,
}

/// Characters between the word, the flags and the arguments.
const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

impl Parts {
    /// The parts of an instruction, or of what follows `ONBUILD`.
    pub(super) fn of(text: &str, escape: char) -> Self {
        let text = text.trim();
        let (word, rest) = text.split_once(BLANKS).unwrap_or((text, ""));
        let (flags, arguments) = flags(rest.trim_start_matches(BLANKS).as_bytes(), escape);
        Self {
            // Go makes a plain i of this letter.
            word: word.replace('\u{130}', "i").to_uppercase(),
            flags,
            arguments: arguments.trim().to_owned(),
        }
    }

    /// The instruction itself, or the one that a build on the image runs.
    pub(super) fn run(self, escape: char) -> Self {
        match self.word.as_str() {
            "ONBUILD" => Self::of(&self.arguments, escape),
            _ => self,
        }
    }
}

/// Splits the flags from what follows. BuildKit goes by bytes, so two bytes of longer characters are blanks to it.
fn flags(text: &[u8], escape: char) -> (Vec<Flag>, String) {
    let is_blank = |b: u8| matches!(b, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0);
    let is_escape = |b: u8| char::from(b) == escape;
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
        rest = rest.split_at(blanks).1;
        if !rest.starts_with(b"--") {
            return (flags, words(rest));
        }
        let mut value = Vec::new();
        let mut quote = None;
        let mut bytes = rest.iter().copied().enumerate();
        let end = loop {
            let Some((at, byte)) = bytes.next() else {
                break rest.len();
            };
            match quote {
                None if is_blank(byte) => break at,
                None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
                Some(open) if byte == open => quote = None,
                _ if is_escape(byte) => value.extend(bytes.next().map(|(_, byte)| byte)),
                _ => value.push(byte),
            }
        };
        let (raw, after) = rest.split_at(end);
        rest = after;
        if value == b"--" {
            return (flags, words(rest));
        }
        let (raw, value) = (words(raw), words(&value));
        flags.push(Flag { raw, value });
    }
}

/// The strings of a JSON array. Before version 0.15, text may follow it.
pub(super) fn json(arguments: &str, version: Version) -> Option<Vec<String>> {
    let text = arguments.trim_start();
    if !text.starts_with('[') {
        return None;
    }
    let text = without_surrogates(text);
    if version >= Version::V15 {
        return serde_json::from_str(&text).ok();
    }
    let mut values = serde_json::Deserializer::from_str(&text).into_iter();
    values.next().and_then(Result::ok)
}

/// JSON in which every half of a surrogate pair is another character: Go reads a lone one, `serde_json` does not.
fn without_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split("\\u");
    out.extend(parts.next());
    for part in parts {
        out.push_str("\\u");
        let mut hex = part.chars();
        let is_surrogate = matches!(hex.next(), Some('d' | 'D'))
            && matches!(hex.next(), Some('8' | '9' | 'a'..='f' | 'A'..='F'));
        match is_surrogate {
            true => {
                out.push_str("ff");
                out.push_str(hex.as_str());
            }
            false => out.push_str(part),
        }
    }
    out
}

/// Reads the head.
pub(super) fn head(text: &str) -> Head<'_> {
    let mut head = Head {
        directives: Vec::new(),
        lines: 0,
        next: "",
    };
    let mut counts = true;
    for line in text.lines() {
        let line = line.trim();
        let comment = line.strip_prefix('#').or_else(|| line.strip_prefix("//"));
        if comment.is_none() && !line.is_empty() {
            head.next = line;
            break;
        }
        head.lines += 1;
        match comment.and_then(|comment| comment.split_once('=')) {
            Some((name, value)) => {
                let directive = Directive {
                    line: head.lines,
                    name: name.trim(),
                    value: value.trim(),
                    counts,
                };
                counts &= ["syntax", "escape", "check"]
                    .iter()
                    .any(|n| directive.is(n));
                head.directives.push(directive);
            }
            // A shebang may precede directives.
            None => counts &= head.lines == 1 && line.starts_with("#!"),
        }
    }
    head
}

impl Head<'_> {
    /// The character that continues a line.
    pub(super) fn escape(&self) -> char {
        let escape = self.directives.iter().find(|d| d.counts && d.is("escape"));
        escape
            .and_then(|directive| directive.value.chars().next())
            .unwrap_or('\\')
    }
}

/// The instructions.
pub(super) fn instructions<'a>(
    text: &'a str,
    escape: char,
    version: Version,
) -> Vec<Instruction<'a>> {
    let mut found: Vec<Instruction<'a>> = Vec::new();
    let lines = text.split_inclusive('\n');
    let mut lines = lines
        .map(|line| line.trim_end_matches(['\r', '\n']))
        .enumerate();
    let mut open: Option<(usize, String)> = None;
    let mut last = 0;
    while let Some((number, line)) = lines.next() {
        last = number;
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        // Only the first line loses its leading blanks.
        let (begin, mut text, line) = match open.take() {
            Some((begin, text)) => (begin, text, line),
            None => (number + 1, String::new(), content),
        };
        if let Some(part) = continued(line, escape) {
            text.push_str(part);
            open = Some((begin, text));
            continue;
        }
        text.push_str(line);
        let (mut documents, mut trouble) = match openings(&text, escape, version) {
            Ok(documents) => (documents, None),
            Err(trouble) => (Vec::new(), Some(trouble)),
        };
        for document in &mut documents {
            let mut ends = false;
            for (number, line) in lines.by_ref() {
                last = number;
                let end = match document.chomps {
                    true => line.trim_start_matches('\t'),
                    false => line,
                };
                ends = end == document.name;
                if ends {
                    break;
                }
                document.lines.push(line);
            }
            if !ends {
                trouble = Some(Trouble::Endless(document.name.clone()));
                break;
            }
        }
        found.push(Instruction {
            line: begin,
            lines: last + 2 - begin,
            text,
            documents,
            trouble,
        });
    }
    found.extend(open.map(|(begin, text)| Instruction {
        line: begin,
        lines: last + 2 - begin,
        text,
        documents: Vec::new(),
        trouble: None,
    }));
    found
}

/// What of a line precedes the escape character that continues it on the next line.
pub(super) fn continued(line: &str, escape: char) -> Option<&str> {
    line.trim_end_matches([' ', '\t'])
        .strip_suffix(escape)
        .filter(|part| !part.ends_with(escape))
}

/// The here-documents that an instruction opens. Only `RUN`, `COPY` and `ADD` have some, and not with a JSON array.
fn openings<'a>(text: &str, escape: char, version: Version) -> Result<Vec<Document<'a>>, Trouble> {
    if !text.contains("<<") {
        return Ok(Vec::new());
    }
    let parts = Parts::of(text, escape).run(escape);
    let can_have = ["RUN", "COPY", "ADD"].contains(&parts.word.as_str());
    if !can_have || json(&parts.arguments, version).is_some() {
        return Ok(Vec::new());
    }
    let words = match words(text, version, Keep::All) {
        Ok(words) => words,
        Err(NoWords::Unfinished) => Vec::new(),
        Err(NoWords::Unclear) => return Err(Trouble::Unclear),
    };
    let found = words.iter().map(|word| opening(word, version));
    found.filter_map(Result::transpose).collect()
}

/// `<<EOF`, `<<-EOF`, `3<<"EOF"`.
fn opening<'a>(word: &str, version: Version) -> Result<Option<Document<'a>>, Trouble> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomps, mut quoted) = rest.strip_prefix('-').map_or((false, rest), |r| (true, r));
    if version >= Version::V22 {
        quoted = quoted.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    }
    if quoted.contains('<') {
        return Ok(None);
    }
    let name = match words(quoted, version, Keep::Text) {
        Ok(mut names) if names.len() == 1 => names.pop(),
        Ok(_) | Err(NoWords::Unfinished) => None,
        Err(NoWords::Unclear) => return Err(Trouble::Unclear),
    };
    Ok(name.map(|name| Document {
        name,
        chomps,
        lines: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each instruction as `line+lines text`, with its documents as ` [name: lines]`.
    fn told(text: &str, version: Version) -> Vec<String> {
        let found = instructions(text, '\\', version);
        let tell = |i: &Instruction<'_>| {
            let documents: String = i
                .documents
                .iter()
                .map(|d| format!(" [{}: {}]", d.name, d.lines.join("|")))
                .collect();
            let trouble = i.trouble.as_ref().map_or("", |_| " !");
            format!("{}+{} {}{documents}{trouble}", i.line, i.lines, i.text)
        };
        found.iter().map(tell).collect()
    }

    #[test]
    fn instructions_are_those_of_buildkits_parser() {
        let text = "FROM a\nRUN <<A cat && \\\n cat <<-'B C'\none\nA\n\ttwo\n\tB C\nCOPY <<X <<Y /d\nX\ny\nY\nENV a=<<A\nRUN x\\\\\nRUN echo \"<<A\"";
        assert_eq!(
            told(text, Version::NEWEST),
            [
                "1+1 FROM a",
                "2+6 RUN <<A cat &&  cat <<-'B C' [A: one] [B C: \ttwo]",
                "8+4 COPY <<X <<Y /d [X: ] [Y: y]",
                "12+1 ENV a=<<A",
                "13+1 RUN x\\\\",
                "14+1 RUN echo \"<<A\"",
            ]
        );
        for (text, expected) in [
            // Continued lines keep their leading blanks; blanks may follow the escape character, but no others.
            ("ADD a\\\n    /x", "1+2 ADD a    /x"),
            ("  RUN a \\ \t\r\n# note\n\n\tb\r\n", "1+4 RUN a \tb"),
            ("RUN a \\\u{a0}\nRUN b", "1+1 RUN a \\\u{a0}|2+1 RUN b"),
            ("RUN a \\\u{b}\nRUN b", "1+1 RUN a \\\u{b}|2+1 RUN b"),
            ("RUN a \\\r\r\n b", "1+2 RUN a  b"),
            (
                "RUN a\\\\\nRUN b\\\\\\\nRUN c",
                "1+1 RUN a\\\\|2+1 RUN b\\\\\\|3+1 RUN c",
            ),
            ("A\\\n#DD x\nDD b", "1+3 ADD b"),
            ("RUN a \\\n\n", "1+2 RUN a "),
            // The name of a document has no quotes and escapes.
            (
                "RUN <<\\EOF\ntrue\nEOF\nADD x y",
                "1+3 RUN <<\\EOF [EOF: true]|4+1 ADD x y",
            ),
            ("RUN <<E\"O\"'F'\nx\nEOF", "1+3 RUN <<E\"O\"'F' [EOF: x]"),
            ("RUN <<E\\ F\nx\nE F", "1+3 RUN <<E\\ F [E F: x]"),
            ("RUN <<\"a\\b\"\nx\na\\b", "1+3 RUN <<\"a\\b\" [a\\b: x]"),
            ("RUN <<E\nx\n E\nE\r\n", "1+4 RUN <<E [E: x| E]"),
            ("RUN <<''\nRUN b", "1+1 RUN <<''|2+1 RUN b"),
            (
                "RUN 3<<E <<<F x<<G 1<2<<H\nE",
                "1+2 RUN 3<<E <<<F x<<G 1<2<<H [E: ]",
            ),
            ("ONBUILD RUN <<E\nE", "1+2 ONBUILD RUN <<E [E: ]"),
            (
                "ONBUILD ONBUILD RUN <<E\nE",
                "1+1 ONBUILD ONBUILD RUN <<E|2+1 E",
            ),
            (
                "RUN [\"a\", \"b\"]\nRUN [ <<E\nE",
                "1+1 RUN [\"a\", \"b\"]|2+2 RUN [ <<E [E: ]",
            ),
            // A quote or variable that does not end leaves no words at all.
            (
                "RUN true # <<E '\nADD x y",
                "1+1 RUN true # <<E '|2+1 ADD x y",
            ),
            ("RUN <<E ${\nADD x y", "1+1 RUN <<E ${|2+1 ADD x y"),
            ("RUN <<E ${a\nADD x y", "1+1 RUN <<E ${a|2+1 ADD x y"),
            (
                "RUN <<E \"${a:-'}\"\nADD x y",
                "1+1 RUN <<E \"${a:-'}\"|2+1 ADD x y",
            ),
            // Words come out of variables.
            ("RUN ${a:-b <<E}\nx\nE}", "1+3 RUN ${a:-b <<E} [E}: x]"),
            (
                "RUN ${a:-\"b <<E\"} <<F\nE\nF",
                "1+3 RUN ${a:-\"b <<E\"} <<F [F: E]",
            ),
            ("RUN <<$A $$ $1a $\nx\n$A", "1+3 RUN <<$A $$ $1a $ [$A: x]"),
            // Unreadable.
            ("RUN <<E\nx", "1+2 RUN <<E [E: x] !"),
            ("RUN <<E ${\u{e9}}\nE", "1+1 RUN <<E ${\u{e9}} !|2+1 E"),
        ] {
            let told = told(text, Version::NEWEST).join("|");
            assert_eq!(told, expected, "{text:?}");
        }
    }

    #[test]
    fn versions_differ_in_what_they_take_for_a_document() {
        use Version::{V10, V12, V13, V15, V22};
        for (text, since, until) in [
            ("RUN << E\nE", V22, V22),
            ("RUN ${a-b} <<E\nE", V12, V22),
            ("RUN ${a%b} <<E\nE", V13, V22),
            ("RUN ${a//b/c} <<E\nE", V13, V22),
            ("RUN ${a:0:3} <<E\nE", V12, V22),
            ("RUN ${a:-b} ${a?b} <<E\nE", V10, V22),
            ("RUN [\"a\"] <<E\nE", V15, V22),
            ("RUN <<E${a:-b}\nE${a:-b}", V10, V13),
            ("RUN ${a:-b \\<<E}\nE}", V13, V22),
        ] {
            for version in Version::ALL {
                let found = instructions(text, '\\', version);
                let has = found.iter().any(|i| !i.documents.is_empty());
                assert_eq!(
                    has,
                    (since..=until).contains(&version),
                    "{text} in {version:?}"
                );
            }
        }
    }

    #[test]
    fn flags_end_where_buildkit_ends_them() {
        for (text, flags, arguments) in [
            ("RUN --a=b --c  d --e", "--a=b,--c", "d --e"),
            ("RUN --a=\"b c\" --d='e' f", "--a=b c,--d=e", "f"),
            ("RUN --a=b\\ c d", "--a=b c", "d"),
            ("RUN -- --a b", "", "--a b"),
            ("RUN --a=\u{e0}--b c", "--a=\u{fffd},--b", "c"),
            ("onbu\u{130}ld -- run --a b", "--a", "b"),
        ] {
            let parts = Parts::of(text, '\\').run('\\');
            let found: Vec<&str> = parts.flags.iter().map(|flag| &*flag.value).collect();
            assert_eq!(parts.word, "RUN", "{text}");
            assert_eq!(
                (&*found.join(","), &*parts.arguments),
                (flags, arguments),
                "{text}"
            );
        }
    }

    #[test]
    fn directives_count_only_at_the_top() {
        for (text, escape, lines) in [
            ("# syntax=a\n# escape=`\nFROM a", '`', 2),
            ("#!/x\n# escape=`\n\nFROM a", '`', 3),
            ("# a comment\n# escape=`\nFROM a", '\\', 2),
            ("\n# escape=`", '\\', 2),
            ("# a=b\n# escape=`", '\\', 2),
            ("FROM a\n# escape=`", '\\', 0),
        ] {
            let head = head(text);
            assert_eq!((head.escape(), head.lines), (escape, lines), "{text}");
        }
    }
}
