//! The precedence of flags, environment and files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use dopq_common::secret::Secret;
use url::Url;

use super::address::{is_loopback, origin_of, parse_url};
use super::error::Error;
use super::file::{File, Master, PROJECT_FILE};
use super::token::Token;

/// The address of a master on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// The flags about the master.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--url`.
    pub(crate) url: Option<String>,
    /// `--context`.
    pub(crate) context: Option<String>,
    /// `--token-file`.
    pub(crate) token_file: Option<PathBuf>,
}

/// The part of the process environment that matters here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `DOPQ_*`, `HOME` and `XDG_CONFIG_HOME`. One is a token.
    pub(crate) variables: BTreeMap<String, Secret>,
    /// Where the search for a project's file begins.
    pub(crate) folder: PathBuf,
}

/// Who named the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--url`, `--context`, or the argument of `dopq login`.
    Flag,
    /// `DOPQ_URL` or `DOPQ_CONTEXT`.
    Variable(&'static str),
    /// A project's file.
    Project(PathBuf),
    /// The user's own file.
    User(PathBuf),
    /// Nothing: the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("the command line"),
            Self::Variable(name) => f.write_str(name),
            Self::Project(path) | Self::User(path) => path.display().fmt(f),
            Self::Default => f.write_str("the default"),
        }
    }
}

impl Source {
    /// Where it says so: `key` is `url` or `context`.
    fn place(&self, key: &str) -> String {
        match self {
            Self::Flag => format!("--{key}"),
            Self::Project(_) | Self::User(_) => format!("{self}: {key}"),
            Self::Variable(_) | Self::Default => self.to_string(),
        }
    }
}

/// The settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The master; its path ends with a slash.
    pub(crate) url: Url,
    /// The context that it comes from.
    pub(crate) context: Option<String>,
    /// Who named it.
    pub(crate) source: Source,
    /// The token for it.
    pub(crate) token: Option<Token>,
    /// The user's tokens by the origin for which each was saved.
    pub(crate) tokens: BTreeMap<String, Token>,
    /// CA certificates to trust in addition to the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Warnings for each use.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Who named the master, such as `DOPQ_URL` or `context lab, from DOPQ_CONTEXT`.
    pub(crate) fn named_by(&self) -> String {
        let source = &self.source;
        match &self.context {
            Some(name) => format!("context {name}, from {source}"),
            None => source.to_string(),
        }
    }
}

impl Environment {
    /// The process's own.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                let matters =
                    name.starts_with("DOPQ_") || name == "HOME" || name == "XDG_CONFIG_HOME";
                // A value that is not UTF-8 is kept, so that it is refused by name.
                matters.then(|| (name, Secret::from(value.to_string_lossy().into_owned())))
            })
            .collect();
        Self {
            variables,
            folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?.reveal();
        Some(value).filter(|value| !value.is_empty())
    }

    /// The user's own file: `DOPQ_CLIENT_CONFIG`, or the usual place.
    pub(crate) fn user_file(&self) -> Option<PathBuf> {
        if let Some(path) = self.get("DOPQ_CLIENT_CONFIG") {
            return Some(PathBuf::from(path));
        }
        let base = match self.get("XDG_CONFIG_HOME") {
            Some(path) => PathBuf::from(path),
            None => Path::new(self.get("HOME")?).join(".config"),
        };
        Some(base.join("dopq").join("config.toml"))
    }

    /// The nearest `.dopq.toml` in the folder or above it.
    fn project_file(&self) -> Option<PathBuf> {
        self.folder
            .ancestors()
            .map(|folder| folder.join(PROJECT_FILE))
            .find(|path| path.is_file())
    }
}

/// The user's own file; empty if there is none.
///
/// # Errors
///
/// Every error in it.
pub(crate) fn user_file(environment: &Environment) -> Result<File, Vec<Error>> {
    let mut errors = Vec::new();
    let path = environment.user_file();
    let file = path.map_or_else(File::default, |path| File::user(&path, &mut errors));
    if errors.is_empty() {
        Ok(file)
    } else {
        Err(errors)
    }
}

/// Resolves the settings.
///
/// # Errors
///
/// Every error in the flags, the environment and the files.
pub(crate) fn resolve(flags: &Flags, environment: &Environment) -> Result<Settings, Vec<Error>> {
    let mut errors = Vec::new();
    let project = environment.project_file();
    let user = environment.user_file();
    let given = Given {
        flags,
        environment,
        project: project.map_or_else(File::default, |path| File::project(&path, &mut errors)),
        user: user.map_or_else(File::default, |path| File::user(&path, &mut errors)),
    };
    let chosen = given.master(&mut errors);
    let token = chosen.as_ref().and_then(|chosen| {
        let refuse = |error| errors.push(error);
        given.token(chosen).map_err(refuse).ok()?
    });
    match chosen {
        Some(chosen) if errors.is_empty() => Ok(Settings {
            ca_file: given.ca_file(&chosen),
            warnings: given.warnings(&chosen.url, token.is_some()),
            tokens: given.saved_tokens(),
            url: chosen.url,
            context: chosen.context,
            source: chosen.source,
            token,
        }),
        Some(_) | None => Err(errors),
    }
}

/// The master, and who chose it.
struct Chosen {
    url: Url,
    context: Option<String>,
    source: Source,
}

/// All that may set something.
struct Given<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    project: File,
    user: File,
}

impl Given<'_> {
    /// The first master that is named. The others are checked too.
    fn master(&self, errors: &mut Vec<Error>) -> Option<Chosen> {
        let Self { project, user, .. } = self;
        let variable = |name| self.environment.get(name);
        let of_project = || Source::Project(project.path.clone());
        let of_user = || Source::User(user.path.clone());
        // Of each source the URL, then the context.
        let named = [
            (self.flags.url.as_deref(), Source::Flag, "url"),
            (self.flags.context.as_deref(), Source::Flag, "context"),
            (variable("DOPQ_URL"), Source::Variable("DOPQ_URL"), "url"),
            (
                variable("DOPQ_CONTEXT"),
                Source::Variable("DOPQ_CONTEXT"),
                "context",
            ),
            (project.url.as_deref(), of_project(), "url"),
            (project.context.as_deref(), of_project(), "context"),
            // The user's own context is newer than the URL of a login without one.
            (user.context.as_deref(), of_user(), "context"),
            (user.url.as_deref(), of_user(), "url"),
            (Some(DEFAULT_URL), Source::Default, "url"),
        ];
        self.refuse_both(errors);
        let mut chosen = None;
        for (text, source, key) in named {
            let Some(text) = text else { continue };
            let read = if key == "url" {
                parse_url(text).map(|url| (url, None))
            } else {
                self.context(text)
                    .map(|master| (master.url.clone(), Some(text.to_owned())))
            };
            match read {
                Ok((url, context)) if chosen.is_none() => {
                    chosen = Some(Chosen {
                        url,
                        context,
                        source,
                    });
                }
                Ok(_) => {}
                Err(message) => errors.push(Error {
                    place: source.place(key),
                    message,
                }),
            }
        }
        chosen
    }

    /// One source names one master; only the user's own file may have both, as the context wins there.
    fn refuse_both(&self, errors: &mut Vec<Error>) {
        let Self { flags, project, .. } = self;
        let variable = |name| self.environment.get(name).is_some();
        for (both, place, other) in [
            (
                flags.url.is_some() && flags.context.is_some(),
                "--context".to_owned(),
                "--url",
            ),
            (
                variable("DOPQ_URL") && variable("DOPQ_CONTEXT"),
                "DOPQ_CONTEXT".to_owned(),
                "DOPQ_URL",
            ),
            (
                project.url.is_some() && project.context.is_some(),
                Source::Project(project.path.clone()).place("context"),
                "url",
            ),
        ] {
            if both {
                errors.push(Error {
                    place,
                    message: format!("{other} is set too; set only one of them"),
                });
            }
        }
    }

    fn context(&self, name: &str) -> Result<&Master, String> {
        self.user.contexts.get(name).ok_or_else(|| {
            let names: Vec<_> = self.user.contexts.keys().map(String::as_str).collect();
            let known = if names.is_empty() {
                "there are none".to_owned()
            } else {
                format!("yours are {}", names.join(", "))
            };
            format!("no context {name:?}; {known}; add one with: dopq context add")
        })
    }

    /// The token for the chosen master. A token is never sent where only a project says so.
    fn token(&self, chosen: &Chosen) -> Result<Option<Token>, Error> {
        let guarded = |place: &str, token| match &chosen.source {
            Source::Project(path) => {
                let refused = format!(
                    "not sent to {}, because {} chose that master and a project must not \
                     choose where your token goes; name the master with --url, --context or DOPQ_URL",
                    origin_of(&chosen.url),
                    path.display()
                );
                at(place, Err(refused))
            }
            Source::Flag | Source::Variable(_) | Source::User(_) | Source::Default => {
                Ok(Some(token))
            }
        };
        if let Some(path) = &self.flags.token_file {
            return at("--token-file", Token::read(path))
                .and_then(|token| guarded("--token-file", token));
        }
        if let Some(token) = self.variable_token()? {
            return guarded("DOPQ_TOKEN", token);
        }
        let origin = origin_of(&chosen.url);
        let own = match (&self.project.token, &chosen.source, &chosen.context) {
            (Some(text), Source::Project(path), None) => Some((text, path)),
            (_, _, _) => None,
        };
        let (text, place) = match (own, self.user.tokens.get(&origin)) {
            (Some((text, path)), _) => (text, format!("{}: token", path.display())),
            (None, Some(text)) => (text, format!("tokens.{origin:?}")),
            (None, None) => return Ok(None),
        };
        at(&place, Token::parse(text.reveal())).map(Some)
    }

    /// The tokens that can be sent; a damaged one matters only where it is needed.
    fn saved_tokens(&self) -> BTreeMap<String, Token> {
        let read = |(url, text): (&String, &Secret)| {
            let origin = parse_url(url).ok()?.origin().ascii_serialization();
            Some((origin, Token::parse(text.reveal()).ok()?))
        };
        self.user.tokens.iter().filter_map(read).collect()
    }

    fn variable_token(&self) -> Result<Option<Token>, Error> {
        let text = self.environment.get("DOPQ_TOKEN");
        let path = self.environment.get("DOPQ_TOKEN_FILE");
        match (text, path) {
            (Some(_), Some(_)) => {
                let message = "DOPQ_TOKEN is set too; set only one of them".to_owned();
                at("DOPQ_TOKEN_FILE", Err(message))
            }
            (Some(text), None) => at("DOPQ_TOKEN", Token::parse(text)).map(Some),
            (None, Some(path)) => at("DOPQ_TOKEN_FILE", Token::read(Path::new(path))).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// A project's certificates are for the master that it names itself: they must not vouch for another.
    fn ca_file(&self, chosen: &Chosen) -> Option<PathBuf> {
        let variable = self.environment.get("DOPQ_CA_FILE").map(PathBuf::from);
        let of_project = || match (&chosen.source, &chosen.context) {
            (Source::Project(_), None) => self.project.ca_file.clone(),
            (_, _) => None,
        };
        let of_context = || {
            let mut contexts = self.user.contexts.values();
            contexts
                .find(|master| master.url == chosen.url)
                .and_then(|master| master.ca_file.clone())
        };
        variable
            .or_else(of_project)
            .or_else(of_context)
            .or_else(|| self.user.ca_file.clone())
    }

    fn warnings(&self, url: &Url, has_token: bool) -> Vec<String> {
        let Self { project, user, .. } = self;
        let mut warnings = Vec::new();
        if project.token.is_some() {
            warnings.push(format!(
                "{} contains a token that everybody who sees the project can use; remove it, revoke it, and run dopq login",
                project.path.display()
            ));
        }
        if !user.tokens.is_empty() && others_can_read(&user.path) {
            warnings.push(format!(
                "{0} contains tokens and others can read it; run: chmod 600 {0}",
                user.path.display()
            ));
        }
        if has_token && url.scheme() == "http" && !is_loopback(url) {
            warnings.push(format!(
                "the token is sent unencrypted to {}; use https:// if you can",
                origin_of(url)
            ));
        }
        warnings
    }
}

/// What is wrong, with its place.
fn at<T>(place: &str, result: Result<T, String>) -> Result<T, Error> {
    result.map_err(|message| Error {
        place: place.to_owned(),
        message,
    })
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_path: &Path) -> bool {
    false
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
