//! The two files: the user's own and the project's. An unknown key is an error, reported with the nearest known one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::{Table, Value};
use url::Url;

use super::error::Error;
use super::token::Token;

/// The name of a project's file.
pub(super) const PROJECT_FILE: &str = ".dopq.toml";

/// A project's `.dopq.toml`.
#[derive(Debug, Default)]
pub(super) struct ProjectFile {
    pub(super) url: Option<String>,
    pub(super) token: Option<SecretString>,
    pub(super) ca_file: Option<PathBuf>,
}

/// The user's own `config.toml`.
#[derive(Debug, Default)]
pub(crate) struct UserFile {
    pub(super) url: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    /// By master, as [`origin_of`] writes it.
    pub(super) tokens: BTreeMap<String, SecretString>,
}

/// The part of a URL that a token is for: scheme, host, port and path, without a final slash.
pub(crate) fn origin_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Reads a project's file.
pub(super) fn read_project(path: &Path, errors: &mut Vec<Error>) -> ProjectFile {
    let Some(mut keys) = Keys::read(path, errors) else {
        return ProjectFile::default();
    };
    let file = ProjectFile {
        url: keys.text("url"),
        token: keys.text("token").map(SecretString::from),
        ca_file: keys.path("ca_file"),
    };
    keys.finish();
    file
}

/// Reads the user's own file; a missing file is empty.
pub(super) fn read_user(path: &Path, errors: &mut Vec<Error>) -> UserFile {
    if !path.exists() {
        return UserFile::default();
    }
    let Some(mut keys) = Keys::read(path, errors) else {
        return UserFile::default();
    };
    let file = UserFile {
        url: keys.text("url"),
        ca_file: keys.path("ca_file"),
        tokens: keys.secrets("tokens"),
    };
    keys.finish();
    file
}

impl UserFile {
    /// Saves a master's token and makes that master the default. Only the owner can read the file. Other settings
    /// are kept, comments are not.
    pub(crate) fn save_login(path: &Path, url: &Url, token: &Token) -> io::Result<()> {
        let invalid = |error: toml::de::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut table: Table = match std::fs::read_to_string(path) {
            Ok(text) => text.parse().map_err(invalid)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
        };
        table.insert("url".to_owned(), Value::String(origin_of(url)));
        let tokens = table
            .entry("tokens")
            .or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(tokens) = tokens {
            tokens.insert(origin_of(url), Value::String(token.reveal().to_owned()));
        }
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder)?;
        // A temporary file has mode 0600, so others can never read the secret. The rename leaves either the old file
        // or the new one.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(table.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

/// The keys of a file. Each is known once it is read.
struct Keys<'a> {
    path: &'a Path,
    table: Table,
    known: Vec<&'static str>,
    errors: &'a mut Vec<Error>,
}

impl<'a> Keys<'a> {
    fn read(path: &'a Path, errors: &'a mut Vec<Error>) -> Option<Self> {
        let place = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                errors.push(Error {
                    place,
                    message: format!("cannot be read: {error}"),
                });
                return None;
            }
        };
        match text.parse() {
            Ok(table) => Some(Self {
                path,
                table,
                known: Vec::new(),
                errors,
            }),
            Err(error) => {
                let error: toml::de::Error = error;
                let line = error.span().map_or(1, |span| {
                    1 + text
                        .bytes()
                        .take(span.start)
                        .filter(|b| *b == b'\n')
                        .count()
                });
                errors.push(Error {
                    place: format!("{place}, line {line}"),
                    message: error.message().to_owned(),
                });
                None
            }
        }
    }

    fn wrong(&mut self, key: &str, message: String) {
        self.errors.push(Error {
            place: format!("{}: {key}", self.path.display()),
            message,
        });
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, format!("must be a string, not {}", other.type_str()));
                None
            }
        }
    }

    /// A path, relative to the file's folder.
    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        Some(folder.join(text))
    }

    /// A table of secrets by URL.
    fn secrets(&mut self, key: &'static str) -> BTreeMap<String, SecretString> {
        let mut secrets = BTreeMap::new();
        match self.take(key) {
            None => {}
            Some(Value::Table(table)) => {
                for (name, value) in table {
                    if let Value::String(text) = value {
                        let url = name.trim_end_matches('/').to_owned();
                        secrets.insert(url, SecretString::from(text));
                    } else {
                        let found = value.type_str();
                        self.wrong(key, format!("{name:?} must be a string, not {found}"));
                    }
                }
            }
            Some(other) => {
                let found = other.type_str();
                self.wrong(
                    key,
                    format!("must be a table of tokens by URL, not {found}"),
                );
            }
        }
        secrets
    }

    /// Refuses every key that was not read.
    fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for key in std::mem::take(&mut self.table).keys() {
            let nearest = known
                .iter()
                .map(|name| (strsim::damerau_levenshtein(key, name), *name))
                .min()
                .filter(|(distance, _)| *distance <= 2);
            let advice = nearest.map_or_else(
                || format!("the settings are {}", known.join(", ")),
                |(_, name)| format!("did you mean {name}?"),
            );
            self.wrong(key, format!("unknown setting; {advice}"));
        }
    }
}
