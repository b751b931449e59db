//! Splits an instruction into words, as BuildKit's lexer does when it looks for here-documents.
//!
//! Versions of BuildKit differ, and an instruction that only some take for the begin of a here-document would hide the
//! lines after it from the others. So each version's rules stand here.

/// The versions of BuildKit that read here-documents in different ways, each by the first release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// 0.10, in engine 23.
    V10,
    /// 0.12: `${a-b}` and `${a+b}`.
    V12,
    /// 0.13: `${a#b}`, `${a%b}` and `${a/b/c}`.
    V13,
    /// 0.15: text after a JSON array makes it no array; a modifier of a variable drops what precedes it in its word.
    V15,
    /// 0.22: blanks may follow `<<`.
    V22,
}

impl Version {
    /// All, the newest first.
    pub(super) const ALL: [Self; 5] = [Self::V22, Self::V15, Self::V13, Self::V12, Self::V10];
    /// The newest.
    pub(super) const NEWEST: Self = Self::V22;
}

/// Why there are no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoWords {
    /// A quote or variable does not end, or is not known to this version. BuildKit goes on without words.
    Unfinished,
    /// A variable that this module does not follow: nested too deep, with a name beyond ASCII, or of a kind that
    /// BuildKit refuses but for some releases.
    Unclear,
}

/// How deep variables may be nested.
const DEPTH_MAX: usize = 50;

/// What stays of the text in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Quotes and escapes stay.
    All,
    /// They are removed.
    Text,
}

/// The words of `text`.
pub(super) fn words(text: &str, version: Version, keep: Keep) -> Result<Vec<String>, NoWords> {
    let mut lexer = Lexer {
        rest: text.chars(),
        version,
        quotes: keep == Keep::All,
        escapes: keep == Keep::All,
        words: Vec::new(),
        word: String::new(),
        depth: 0,
    };
    lexer.until(None)?;
    lexer.end_word();
    Ok(lexer.words)
}

struct Lexer<'a> {
    rest: std::str::Chars<'a>,
    version: Version,
    /// Whether quotes stay.
    quotes: bool,
    /// Whether escapes stay.
    escapes: bool,
    words: Vec<String>,
    word: String,
    /// Number of variables around the place.
    depth: usize,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Result<char, NoWords> {
        self.rest.next().ok_or(NoWords::Unfinished)
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Reads up to `stop`, or to the end. Only the outermost call makes words.
    fn until(&mut self, stop: Option<char>) -> Result<String, NoWords> {
        let outer = stop.is_none();
        let mut read = String::new();
        while let Some(c) = self.rest.next() {
            let mut raw = String::new();
            match c {
                c if Some(c) == stop => return Ok(read),
                '$' => {
                    let variable = self.variable()?;
                    if outer {
                        variable.chars().for_each(|c| self.add(c));
                    }
                    read.push_str(&variable);
                    continue;
                }
                '\'' => self.single_quoted(&mut raw)?,
                '"' => self.double_quoted(&mut raw)?,
                '<' => self.opening(&mut raw),
                '\\' => {
                    raw.extend(self.escapes.then_some('\\'));
                    raw.extend(self.rest.next());
                }
                c => {
                    if outer {
                        self.add(c);
                    }
                    read.push(c);
                    continue;
                }
            }
            if outer {
                self.word.push_str(&raw);
            }
            read.push_str(&raw);
        }
        match stop {
            Some(_) => Err(NoWords::Unfinished),
            None => Ok(read),
        }
    }

    fn add(&mut self, c: char) {
        if c.is_whitespace() {
            self.end_word();
        } else {
            self.word.push(c);
        }
    }

    fn opening(&mut self, raw: &mut String) {
        raw.push('<');
        if self.version < Version::V22 || self.peek() != Some('<') {
            return;
        }
        raw.extend(self.rest.next());
        while let Some(blank) = self.peek().filter(|c| matches!(c, ' ' | '\t' | '\r')) {
            raw.push(blank);
            self.rest.next();
        }
    }

    fn single_quoted(&mut self, raw: &mut String) -> Result<(), NoWords> {
        raw.extend(self.quotes.then_some('\''));
        loop {
            match self.next()? {
                '\'' => break,
                c => raw.push(c),
            }
        }
        raw.extend(self.quotes.then_some('\''));
        Ok(())
    }

    fn double_quoted(&mut self, raw: &mut String) -> Result<(), NoWords> {
        raw.extend(self.quotes.then_some('"'));
        loop {
            match self.next()? {
                '"' => break,
                '$' => raw.push_str(&self.variable()?),
                '\\' => {
                    raw.extend(self.escapes.then_some('\\'));
                    match self.peek() {
                        Some('"' | '$' | '\\') => raw.extend(self.rest.next()),
                        Some(_) => raw.push('\\'),
                        None => {}
                    }
                }
                c => raw.push(c),
            }
        }
        raw.extend(self.quotes.then_some('"'));
        Ok(())
    }

    /// A variable, which has no value here and so stays as it is.
    fn variable(&mut self) -> Result<String, NoWords> {
        if self.peek() != Some('{') {
            return Ok(format!("${}", self.name()));
        }
        self.rest.next();
        if matches!(self.peek(), None | Some('{' | '}' | ':')) {
            return Err(NoWords::Unfinished);
        }
        let name = self.name();
        let first = self.next()?;
        if first == '}' {
            return Ok(format!("${{{name}}}"));
        }
        // Which other characters are letters or digits depends on the tables of Go.
        if !first.is_ascii() {
            return Err(NoWords::Unclear);
        }
        let version = self.version;
        let escapes = version < Version::V13 && self.escapes;
        let (modifier, word) = match first {
            ':' => {
                let second = self.next()?;
                let known = match second {
                    '-' | '+' | '?' => true,
                    '#' | '%' => return Err(NoWords::Unclear),
                    _ => version >= Version::V12,
                };
                let word = self.nested('}', escapes)?;
                if !known {
                    return Err(NoWords::Unfinished);
                }
                (format!(":{second}"), word)
            }
            '?' => ("?".to_owned(), self.nested('}', escapes)?),
            '-' | '+' if version >= Version::V12 => (first.to_string(), self.nested('}', escapes)?),
            '#' | '%' if version >= Version::V13 => (first.to_string(), self.nested('}', true)?),
            '/' if version >= Version::V13 => {
                // BuildKit leaves out the second slash of `//` when it puts the variable together again.
                if self.peek() == Some('/') {
                    self.rest.next();
                }
                let pattern = self.nested('/', true)?;
                let replacement = self.nested('}', true)?;
                ("/".to_owned(), format!("{pattern}/{replacement}"))
            }
            _ => return Err(NoWords::Unfinished),
        };
        Ok(format!("${{{name}{modifier}{word}}}"))
    }

    /// What a modifier applies, up to `stop`.
    fn nested(&mut self, stop: char, escapes: bool) -> Result<String, NoWords> {
        if self.depth == DEPTH_MAX {
            return Err(NoWords::Unclear);
        }
        if self.version >= Version::V15 {
            // BuildKit puts the words of all depths into one buffer.
            self.word.clear();
        }
        let outer = std::mem::replace(&mut self.escapes, escapes);
        self.depth += 1;
        let read = self.until(Some(stop));
        self.depth -= 1;
        self.escapes = outer;
        read
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut digits = false;
        while let Some(c) = self.peek() {
            let first = name.is_empty();
            digits |= first && c.is_ascii_digit();
            let special = first && matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!' | '0');
            let goes_on = match digits {
                true => c.is_ascii_digit(),
                false => c.is_ascii_alphanumeric() || c == '_',
            };
            if !goes_on && !special {
                break;
            }
            name.push(c);
            self.rest.next();
            if special && !digits {
                break;
            }
        }
        name
    }
}
