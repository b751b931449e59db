//! The two files: the user's own and the project's. An unknown key is an error, reported with the nearest known one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dopq_common::secret::Secret;
use toml::{Table, Value};
use url::Url;

use super::error::Error;
use super::token::Token;

/// The name of a project's file.
pub(super) const PROJECT_FILE: &str = ".dopq.toml";

/// What a file sets; nothing if there is no file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(super) path: PathBuf,
    pub(super) url: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    /// Only a project's.
    pub(super) token: Option<Secret>,
    /// Only the user's own: by master, as [`origin_of`] writes it.
    pub(super) tokens: BTreeMap<String, Secret>,
}

/// The part of a URL that a token is for: scheme, host, port and path, without a final slash.
pub(crate) fn origin_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

impl File {
    /// Reads a project's file.
    pub(super) fn project(path: &Path, errors: &mut Vec<Error>) -> Self {
        Self::read(path, errors, |file, keys| {
            file.token = keys.text("token").map(Secret::from);
        })
    }

    /// Reads the user's own file; a missing file is empty.
    pub(super) fn user(path: &Path, errors: &mut Vec<Error>) -> Self {
        if !path.exists() {
            return Self::default();
        }
        Self::read(path, errors, |file, keys| {
            file.tokens = keys.secrets("tokens");
        })
    }

    /// `more` reads the keys that only one of the two files has.
    fn read(path: &Path, errors: &mut Vec<Error>, more: fn(&mut Self, &mut Keys<'_>)) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        if let Some(mut keys) = Keys::read(path, errors) {
            file.url = keys.text("url");
            file.ca_file = keys.path("ca_file");
            more(&mut file, &mut keys);
            keys.finish();
        }
        file
    }

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
    fn secrets(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let mut secrets = BTreeMap::new();
        match self.take(key) {
            None => {}
            Some(Value::Table(table)) => {
                for (name, value) in table {
                    if let Value::String(text) = value {
                        let url = name.trim_end_matches('/').to_owned();
                        secrets.insert(url, Secret::from(text));
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
