//! The precedence of flags, environment and files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use url::{Host, Url};

use super::error::Error;
use super::file::{PROJECT_FILE, ProjectFile, UserFile, origin_of, read_project, read_user};
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
    /// `DOPQ_*`, `HOME` and `XDG_CONFIG_HOME`.
    pub(crate) variables: BTreeMap<String, String>,
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

/// The settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The master; its path ends with a slash.
    pub(crate) url: Url,
    /// Who named it.
    pub(crate) source: Source,
    /// The token for it.
    pub(crate) token: Option<Token>,
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
                matters.then(|| (name, value.to_string_lossy().into_owned()))
            })
            .collect();
        Self {
            variables,
            folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// A variable that is set and not empty.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
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
    let project_path = environment.project_file();
    let project = project_path
        .as_deref()
        .map_or_else(ProjectFile::default, |path| read_project(path, &mut errors));
    let user_path = environment.user_file();
    let user = user_path
        .as_deref()
        .map_or_else(UserFile::default, |path| read_user(path, &mut errors));

    let named = [
        (flags.url.as_deref(), "--url", Source::Flag),
        (environment.get("DOPQ_URL"), "DOPQ_URL", Source::Variable),
        (
            project.url.as_deref(),
            PROJECT_FILE,
            Source::Project(project_path.clone().unwrap_or_default()),
        ),
        (
            user.url.as_deref(),
            "config.toml",
            Source::User(user_path.clone().unwrap_or_default()),
        ),
        (Some(DEFAULT_URL), "default", Source::Default),
    ];
    let mut chosen = None;
    for (text, place, source) in named {
        let Some(text) = text else { continue };
        match parse_url(text) {
            Ok(url) if chosen.is_none() => chosen = Some((url, source)),
            Ok(_) => {}
            Err(message) => {
                let place = match &source {
                    Source::Project(path) | Source::User(path) => {
                        format!("{}: url", path.display())
                    }
                    Source::Flag | Source::Variable | Source::Default => place.to_owned(),
                };
                errors.push(Error { place, message });
            }
        }
    }
    let token = match &chosen {
        Some((url, source)) => choose_token(
            flags,
            environment,
            &project,
            &user,
            url,
            source,
            &mut errors,
        ),
        None => None,
    };
    let ca_file = environment
        .get("DOPQ_CA_FILE")
        .map(PathBuf::from)
        .or_else(|| project.ca_file.clone())
        .or_else(|| user.ca_file.clone());
    match chosen {
        Some((url, source)) if errors.is_empty() => {
            let warnings = warnings(
                &project,
                project_path.as_deref(),
                &user,
                user_path.as_deref(),
                &url,
                token.is_some(),
            );
            Ok(Settings {
                url,
                source,
                token,
                ca_file,
                warnings,
            })
        }
        Some(_) | None => Err(errors),
    }
}

fn choose_token(
    flags: &Flags,
    environment: &Environment,
    project: &ProjectFile,
    user: &UserFile,
    url: &Url,
    source: &Source,
    errors: &mut Vec<Error>,
) -> Option<Token> {
    let mut keep = |place: &str, token: Result<Token, String>| {
        token
            .map_err(|message| {
                errors.push(Error {
                    place: place.to_owned(),
                    message,
                });
            })
            .ok()
    };
    if let Some(path) = &flags.token_file {
        return keep("--token-file", Token::read(path));
    }
    let from_variable = match (
        environment.get("DOPQ_TOKEN"),
        environment.get("DOPQ_TOKEN_FILE"),
    ) {
        (Some(_), Some(_)) => keep(
            "DOPQ_TOKEN_FILE",
            Err("DOPQ_TOKEN is set too; set only one of them".to_owned()),
        ),
        (Some(text), None) => keep("DOPQ_TOKEN", Token::parse(text)),
        (None, Some(path)) => keep("DOPQ_TOKEN_FILE", Token::read(Path::new(path))),
        (None, None) => None,
    };
    if let (Some(_), Source::Project(path)) = (&from_variable, source) {
        return keep(
            "DOPQ_TOKEN",
            Err(format!(
                "not sent to {}, because that URL comes from {} and a project must not \
                 choose where your token goes; set DOPQ_URL as well",
                origin_of(url),
                path.display()
            )),
        );
    }
    if from_variable.is_some() {
        return from_variable;
    }
    if let (Some(text), Source::Project(path)) = (&project.token, source) {
        let token = Token::parse(text.expose_secret());
        return keep(&format!("{}: token", path.display()), token);
    }
    let text = user.tokens.get(&origin_of(url))?;
    let token = Token::parse(text.expose_secret());
    keep(&format!("tokens.{:?}", origin_of(url)), token)
}

fn warnings(
    project: &ProjectFile,
    project_path: Option<&Path>,
    user: &UserFile,
    user_path: Option<&Path>,
    url: &Url,
    has_token: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let (Some(_), Some(path)) = (&project.token, project_path) {
        warnings.push(format!(
            "{} contains a token that everybody who sees the project can use; remove it, revoke it, and run dopq login",
            path.display()
        ));
    }
    if let Some(path) = user_path.filter(|path| !user.tokens.is_empty() && others_can_read(path)) {
        warnings.push(format!(
            "{0} contains tokens and others can read it; run: chmod 600 {0}",
            path.display()
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
