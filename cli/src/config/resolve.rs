//! The precedence of flags, environment and files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use dopq_common::secret::Secret;
use url::{Host, Url};

use super::error::Error;
use super::file::{File, PROJECT_FILE, origin_of};
use super::token::Token;

/// The address of a master on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// The flags about the master.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--url`.
    pub(crate) url: Option<String>,
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
    /// `--url`, or the argument of `dopq login`.
    Flag,
    /// `DOPQ_URL`.
    Variable,
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
            Self::Variable => f.write_str("DOPQ_URL"),
            Self::Project(path) | Self::User(path) => path.display().fmt(f),
            Self::Default => f.write_str("the default"),
        }
    }
}

impl Source {
    /// Where its URL is written.
    fn place(&self) -> String {
        match self {
            Self::Flag => "--url".to_owned(),
            Self::Project(_) | Self::User(_) => format!("{self}: url"),
            Self::Variable | Self::Default => self.to_string(),
        }
    }
}

/// The settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The master; its path ends with a slash.
    pub(crate) url: Url,
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

/// Reads a master's URL, so that paths can be joined to it.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| {
        format!("{text:?} is not a URL ({error}); use one such as http://127.0.0.1:7070")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!(
            "{text:?} is not an http:// or https:// URL; use one such as http://127.0.0.1:7070"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the URL contains a user or password; DoPQ uses tokens: run dopq login".to_owned(),
        );
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
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
    let chosen = given.url(&mut errors);
    let token = chosen.as_ref().and_then(|(url, source)| {
        let refuse = |error| errors.push(error);
        given.token(url, source).map_err(refuse).ok()?
    });
    match chosen {
        Some((url, source)) if errors.is_empty() => Ok(Settings {
            ca_file: given.ca_file(),
            warnings: given.warnings(&url, token.is_some()),
            tokens: given.saved_tokens(),
            url,
            source,
            token,
        }),
        Some(_) | None => Err(errors),
    }
}

/// All that may set something.
struct Given<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    project: File,
    user: File,
}

impl Given<'_> {
    /// The first URL. The others are checked too.
    fn url(&self, errors: &mut Vec<Error>) -> Option<(Url, Source)> {
        let Self { project, user, .. } = self;
        let named = [
            (self.flags.url.as_deref(), Source::Flag),
            (self.environment.get("DOPQ_URL"), Source::Variable),
            (
                project.url.as_deref(),
                Source::Project(project.path.clone()),
            ),
            (user.url.as_deref(), Source::User(user.path.clone())),
            (Some(DEFAULT_URL), Source::Default),
        ];
        let mut chosen = None;
        for (text, source) in named {
            match text.map(parse_url) {
                Some(Ok(url)) if chosen.is_none() => chosen = Some((url, source)),
                Some(Ok(_)) | None => {}
                Some(Err(message)) => errors.push(Error {
                    place: source.place(),
                    message,
                }),
            }
        }
        chosen
    }

    /// The token for `url`.
    fn token(&self, url: &Url, source: &Source) -> Result<Option<Token>, Error> {
        if let Some(path) = &self.flags.token_file {
            return at("--token-file", Token::read(path)).map(Some);
        }
        if let Some(token) = self.variable_token()? {
            let Source::Project(path) = source else {
                return Ok(Some(token));
            };
            let refused = format!(
                "not sent to {}, because that URL comes from {} and a project must not \
                 choose where your token goes; set DOPQ_URL as well",
                origin_of(url),
                path.display()
            );
            return at("DOPQ_TOKEN", Err(refused));
        }
        let origin = origin_of(url);
        let (text, place) = match (&self.project.token, source, self.user.tokens.get(&origin)) {
            (Some(text), Source::Project(path), _) => (text, format!("{}: token", path.display())),
            (_, _, Some(text)) => (text, format!("tokens.{origin:?}")),
            (_, _, None) => return Ok(None),
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

    fn ca_file(&self) -> Option<PathBuf> {
        let variable = self.environment.get("DOPQ_CA_FILE").map(PathBuf::from);
        variable
            .or_else(|| self.project.ca_file.clone())
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

/// Whether the URL's host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
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
