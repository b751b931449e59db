//! `.dockerignore`, with Docker's own pattern rules: what the command line does not pack, and what a build does not see.
//!
//! Parses and matches patterns like moby's `patternmatcher`: a pattern also covers everything below its match, `!`
//! reverses, the last matching pattern decides. Matching advances a set of positions over the path once, so its time
//! is at most the pattern's length times the path's.

/// The longest `.dockerignore` that is read, in bytes.
pub const IGNORE_MAX_BYTES: u64 = 64 * 1024;

/// A pattern that Docker refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(".dockerignore line {line}: {pattern:?}: {rule}")]
pub struct BadPattern {
    line: usize,
    pattern: String,
    rule: &'static str,
}

/// The files to leave out of a build context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    takes_back: bool,
    glob: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Literal(char),
    /// `?`: any but a slash.
    One,
    /// `*`: any number of characters, without a slash.
    Many,
    /// `**` at the end: anything.
    Rest,
    /// `**/` or `**` elsewhere: nothing, or anything up to a slash.
    Folders,
    /// `[…]`: one of the ranges, or none of them.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Ignore {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The first pattern that Docker refuses.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let fault = |rule| BadPattern {
                line: number + 1,
                pattern: line.to_owned(),
                rule,
            };
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (takes_back, wanted) = match line.trim().strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line.trim()),
            };
            if wanted.is_empty() {
                return Err(fault("a pattern must follow the exclamation mark"));
            }
            let mut cleaned = clean(wanted);
            if cleaned.len() > 1 && cleaned.starts_with('/') {
                cleaned.remove(0);
            }
            patterns.push(Pattern {
                takes_back,
                glob: compile(&cleaned).map_err(fault)?,
            });
        }
        Ok(Self(patterns))
    }

    /// Whether it takes something back, so that what is below a covered folder may be wanted.
    #[must_use]
    pub fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.takes_back)
    }

    /// What covers these paths and everything below them; stars and question marks are wildcards. `None` if that may be
    /// everything.
    #[must_use]
    pub fn of_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let patterns = paths.into_iter().map(|path| {
            let cleaned = clean(&format!("/{path}")).split_off(1);
            let glob = compile(&cleaned).ok().filter(|glob| !glob.is_empty())?;
            Some(Pattern {
                takes_back: false,
                glob,
            })
        });
        patterns.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether the last pattern that matches the file or folder at `path` (relative, with slashes), or a folder above it,
    /// leaves it out.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let mut covered = false;
        for pattern in &self.0 {
            // Skip patterns that would change nothing.
            if pattern.takes_back == covered && matches(&pattern.glob, path) {
                covered = !pattern.takes_back;
            }
        }
        covered
    }
}

/// Go's `filepath.Clean`: no doubled slashes, no `.`, no `..` but leading ones.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

fn compile(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    let literal_after = |rest: &str| !rest.contains(['*', '?', '[', ']', '\\']);
    if let Some(suffix) = pattern.strip_prefix("**")
        && !suffix.is_empty()
        && suffix != "/"
        && literal_after(suffix)
    {
        // Docker treats `**` before plain text as "ends with".
        let (whole, suffix) = match suffix.strip_prefix('/') {
            Some(suffix) => (true, suffix),
            None => (false, suffix),
        };
        tokens.push(if whole { Token::Folders } else { Token::Rest });
        tokens.extend(suffix.chars().map(Token::Literal));
        return Ok(tokens);
    }
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_none() {
                    Token::Rest
                } else {
                    Token::Folders
                }
            }
            '*' => Token::Many,
            '?' => Token::One,
            '\\' => Token::Literal(rest.next().ok_or("a backslash must escape something")?),
            '[' => class(&mut rest)?,
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

/// The rest of a `[…]` after its opening bracket.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "a bracket is not closed";
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match rest.next().ok_or(OPEN)? {
            ']' if ranges.is_empty() => return Err("brackets must not be empty"),
            ']' => return Ok(Token::Class { negated, ranges }),
            '-' => return Err("a range must start with a character"),
            '\\' => rest.next().ok_or(OPEN)?,
            c => c,
        };
        let to = if rest.next_if_eq(&'-').is_some() {
            match rest.next().ok_or(OPEN)? {
                '\\' => rest.next().ok_or(OPEN)?,
                ']' => return Err("a range must end with a character"),
                c => c,
            }
        } else {
            from
        };
        if to < from {
            return Err("a range must not run backwards");
        }
        ranges.push((from, to));
    }
}

/// Whether the tokens match the whole path or a folder above it.
fn matches(glob: &[Token], path: &str) -> bool {
    let (mut open, mut next) = (Open::of(glob), Open::of(glob));
    open.reach(glob, 0);
    for c in path.chars() {
        if c == '/' && open.has(glob.len()) {
            return true;
        }
        if open.counts.is_empty() {
            return false;
        }
        next.clear();
        for used in &open.counts {
            if let Some(token) = glob.get(*used) {
                next.advance(glob, *used, token, c);
            }
        }
        std::mem::swap(&mut open, &mut next);
    }
    open.has(glob.len())
}

/// The token counts that can match the text up to the present character, in order.
struct Open {
    counts: Vec<usize>,
    /// Which counts are in it.
    marks: Vec<bool>,
}

impl Open {
    fn of(glob: &[Token]) -> Self {
        Self {
            counts: Vec::new(),
            marks: vec![false; glob.len() + 1],
        }
    }

    fn has(&self, used: usize) -> bool {
        self.marks.get(used) == Some(&true)
    }

    fn clear(&mut self) {
        for used in self.counts.drain(..) {
            if let Some(mark) = self.marks.get_mut(used) {
                *mark = false;
            }
        }
    }

    /// False if it was there.
    fn insert(&mut self, used: usize) -> bool {
        match self.marks.get_mut(used) {
            Some(mark) if !*mark => {
                *mark = true;
                self.counts.push(used);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Adds what matches one character more with the token after `used` others.
    fn advance(&mut self, glob: &[Token], used: usize, token: &Token, c: char) {
        match token {
            Token::Literal(wanted) if *wanted == c => self.reach(glob, used + 1),
            Token::One if c != '/' => self.reach(glob, used + 1),
            Token::Many if c != '/' => self.reach(glob, used),
            Token::Rest => self.reach(glob, used),
            Token::Class { negated, ranges } => {
                let within = ranges.iter().any(|(from, to)| *from <= c && c <= *to);
                if within != *negated {
                    self.reach(glob, used + 1);
                }
            }
            Token::Folders => {
                // Folders continue, and may end only at a slash.
                self.insert(used);
                if c == '/' {
                    self.reach(glob, used + 1);
                }
            }
            Token::Literal(_) | Token::One | Token::Many => {}
        }
    }

    /// Adds `used`, and the following tokens that can match nothing. Counts come in order, so what follows one that is
    /// there is there too.
    fn reach(&mut self, glob: &[Token], mut used: usize) {
        while self.insert(used) {
            match glob.get(used) {
                Some(Token::Many | Token::Rest | Token::Folders) => used += 1,
                Some(Token::Literal(_) | Token::One | Token::Class { .. }) | None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern file, paths left out, paths kept.
    const CASES: &[(&str, &[&str], &[&str])] = &[
        (
            "foo",
            &["foo", "foo/bar", "foo/a/b"],
            &["foobar", "a/foo", "fo"],
        ),
        ("/foo", &["foo", "foo/bar"], &["a/foo"]),
        ("foo/", &["foo", "foo/bar"], &["a/foo"]),
        ("./foo//bar/../baz", &["foo/baz"], &["foo/bar"]),
        ("*.pyc", &["a.pyc"], &["d/a.pyc", "a.pyc2"]),
        (
            "*/*.pyc",
            &["d/a.pyc", "d/a.pyc/x"],
            &["a.pyc", "d/e/a.pyc"],
        ),
        ("**/*.pyc", &["a.pyc", "d/a.pyc", "d/e/a.pyc"], &["a.py"]),
        (
            "**/foo",
            &["foo", "a/foo", "a/b/foo", "a/foo/c"],
            &["afoo", "a/bfoo"],
        ),
        ("**foo", &["foo", "afoo", "a/bfoo"], &["foob"]),
        ("**foo*", &["foo", "a/foob"], &["afoo"]),
        ("**", &["a", "a/b", ".git", "Dockerfile"], &[]),
        ("foo/**", &["foo/a", "foo/a/b"], &["foo", "foob"]),
        ("a/**/b", &["a/b", "a/x/b", "a/x/y/b/c"], &["ab", "a/xb"]),
        ("a**b", &["ab", "ax/b"], &["axb"]),
        (
            "temp?",
            &["tempa", "tempa/x"],
            &["temp", "tempab", "temp/a"],
        ),
        ("[a-c]x", &["ax", "cx"], &["dx", "-x"]),
        ("[^a-c]x", &["dx"], &["ax", "x"]),
        ("a[\\]]b", &["a]b"], &["ab"]),
        ("\\*", &["*"], &["a"]),
        ("a.b", &["a.b"], &["axb"]),
        ("a+(b)|{c}$", &["a+(b)|{c}$"], &["aab"]),
        ("#foo\n  \n #bar", &["#bar"], &["#foo", "foo"]),
        ("*\n!keep", &["a", "b/c"], &["keep", "keep/a"]),
        (
            "*\n!keep\nkeep/not",
            &["keep/not", "a"],
            &["keep", "keep/a"],
        ),
        ("!keep\n*", &["keep", "a"], &[]),
        (
            "docs\n!docs/*.md",
            &["docs/a.txt", "docs/d/a.md"],
            &["docs/a.md"],
        ),
        ("docs\n! /docs/README", &["docs/a"], &["docs/README"]),
        ("*/Dockerfile", &["a/Dockerfile"], &["Dockerfile"]),
        ("\u{feff}foo\r\nbar\r", &["foo", "bar"], &[]),
        ("..", &[], &["a", "b/c"]),
        (".", &[], &["a", "b/c"]),
        ("/", &[], &["a", "b/c"]),
        ("\u{e4}*", &["\u{e4}b"], &["ab"]),
        ("", &[], &["a"]),
    ];

    #[test]
    fn patterns_mean_what_docker_means() {
        for (text, left_out, kept) in CASES {
            let ignore = Ignore::parse(text).expect(text);
            for path in *left_out {
                assert!(ignore.covers(path), "{text:?} must leave out {path:?}");
            }
            for path in *kept {
                assert!(!ignore.covers(path), "{text:?} must keep {path:?}");
            }
        }
    }

    #[test]
    fn patterns_that_docker_refuses_are_refused() {
        for text in [
            "!", "a\n!  ", "[", "a[b", "[]a]", "[b-a]", "[-]", "a\\", "[a-]",
        ] {
            assert!(Ignore::parse(text).is_err(), "{text:?}");
        }
        let error = Ignore::parse("ok\n[x").expect_err("open bracket");
        assert_eq!(
            error.to_string(),
            ".dockerignore line 2: \"[x\": a bracket is not closed"
        );
    }

    #[test]
    fn paths_cover_themselves_and_what_is_below() {
        let paths = Ignore::of_paths(["/a/b", "./c*", "d/../e"]).expect("patterns");
        for covered in ["a/b", "a/b/c", "c", "cd/e", "e/f"] {
            assert!(paths.covers(covered), "{covered}");
        }
        for other in ["a", "a/c", "d", "x/e"] {
            assert!(!paths.covers(other), "{other}");
        }
        for everything in [&["."][..], &["a", "/"], &["["], &[""]] {
            assert_eq!(Ignore::of_paths(everything.iter().copied()), None);
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length_times_the_path_s() {
        let pattern = "*a**/".repeat(2_000);
        let ignore = Ignore::parse(&format!("{pattern}b")).expect("a pattern");
        assert!(!ignore.covers(&"a".repeat(2_000)));
        assert!(!ignore.covers(&"a/".repeat(1_000)));
    }
}
