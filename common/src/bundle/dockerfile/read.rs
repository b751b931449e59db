//! Splits a Dockerfile into its head of comments and its instructions, as BuildKit's parser does.

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
}

/// A here-document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The word that ends it.
    pub(super) name: String,
    /// Whether the word is not quoted, so that variables in it are replaced.
    pub(super) expands: bool,
    /// `<<-`: tabs at the start of lines are dropped.
    pub(super) chomps: bool,
    /// Its lines.
    pub(super) lines: Vec<&'a str>,
}

impl Instruction<'_> {
    /// Its word in capitals, and what follows.
    pub(super) fn split(&self) -> (String, &str) {
        let text = self.text.trim_start();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        (word.to_ascii_uppercase(), rest.trim_start())
    }
}

/// Splits flags such as `--from=x` from the rest of an instruction.
pub(super) fn flags(rest: &str) -> (Vec<&str>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
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
pub(super) fn instructions<'a>(text: &'a str, escape: char) -> Vec<Instruction<'a>> {
    let mut found: Vec<Instruction<'a>> = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut open: Option<(usize, String)> = None;
    while let Some((number, raw)) = lines.next() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (begin, mut text) = open.take().unwrap_or((number + 1, String::new()));
        let continues = line
            .strip_suffix(escape)
            .filter(|part| !part.ends_with(escape));
        if let Some(part) = continues {
            text.push_str(part);
            open = Some((begin, text));
            continue;
        }
        text.push_str(line);
        let mut last = number;
        let mut documents = openings(&text);
        for document in &mut documents {
            for (number, line) in lines.by_ref() {
                last = number;
                let end = if document.chomps {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if end == document.name {
                    break;
                }
                document.lines.push(line);
            }
        }
        found.push(Instruction {
            line: begin,
            lines: last + 2 - begin,
            text,
            documents,
        });
    }
    found.extend(open.map(|(line, text)| Instruction {
        line,
        lines: text.lines().count(),
        text,
        documents: Vec::new(),
    }));
    found
}

/// The here-documents that an instruction opens. Only `RUN`, `COPY` and `ADD` have some.
fn openings<'a>(text: &str) -> Vec<Document<'a>> {
    let word = text.split_whitespace().next().unwrap_or_default();
    let mut word = word.to_ascii_uppercase();
    if word == "ONBUILD" {
        let next = text.split_whitespace().nth(1).unwrap_or_default();
        word = next.to_ascii_uppercase();
    }
    if !["RUN", "COPY", "ADD"].contains(&word.as_str()) {
        return Vec::new();
    }
    words(text)
        .iter()
        .filter_map(|word| opening(word))
        .collect()
}

/// `<<EOF`, `<<-EOF`, `3<<"EOF"`.
fn opening<'a>(word: &str) -> Option<Document<'a>> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (chomps, quoted) = rest.strip_prefix('-').map_or((false, rest), |r| (true, r));
    let name: String = quoted
        .chars()
        .filter(|c| !matches!(c, '"' | '\''))
        .collect();
    if name.is_empty() || name.contains('<') {
        return None;
    }
    Some(Document {
        expands: name == quoted,
        name,
        chomps,
        lines: Vec::new(),
    })
}

/// Words as a shell splits them; quotes stay.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if c == open => quote = None,
            None | Some('"') if c == '\\' => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            None | Some(_) => {}
        }
        word.push(c);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_documents_belong_to_their_instruction() {
        let text = "FROM a\nRUN <<A cat && \\\n cat <<-'B C'\none\nA\n\ttwo\n\tB C\nCOPY <<X <<Y /d\nX\ny\nY\nENV a=<<A\nRUN x\\\\\nRUN echo \"<<A\"";
        let found = instructions(text, '\\');
        let seen: Vec<_> = found
            .iter()
            .map(|i| {
                let documents: Vec<_> = i
                    .documents
                    .iter()
                    .map(|d| (&*d.name, d.expands, d.lines.join("|")))
                    .collect();
                (i.line, i.lines, &*i.text, documents)
            })
            .collect();
        let none = Vec::new;
        assert_eq!(
            seen,
            [
                (1, 1, "FROM a", none()),
                (
                    2,
                    6,
                    "RUN <<A cat && cat <<-'B C'",
                    vec![
                        ("A", true, "one".to_owned()),
                        ("B C", false, "\ttwo".to_owned())
                    ]
                ),
                (
                    8,
                    4,
                    "COPY <<X <<Y /d",
                    vec![("X", true, String::new()), ("Y", true, "y".to_owned())]
                ),
                (12, 1, "ENV a=<<A", none()),
                (13, 1, "RUN x\\\\", none()),
                (14, 1, "RUN echo \"<<A\"", none()),
            ]
        );
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
