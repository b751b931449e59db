//! Precedence, errors, and that tokens stay where they belong.

use std::fs;

use super::super::edit::{add_context, remove_context, save_login, use_context};
use super::*;

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(user_file: &str, project_file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(".config/dopq");
        fs::create_dir_all(&config).unwrap();
        fs::create_dir_all(folder.path().join("project/deep")).unwrap();
        if !user_file.is_empty() {
            let path = config.join("config.toml");
            fs::write(&path, user_file).unwrap();
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        if !project_file.is_empty() {
            fs::write(
                folder.path().join("project").join(PROJECT_FILE),
                project_file,
            )
            .unwrap();
        }
        Self { folder }
    }

    fn resolve(&self, flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, Vec<Error>> {
        let home = self.folder.path().display().to_string();
        let environment = Environment {
            variables: variables
                .iter()
                .chain([&("HOME", home.as_str())])
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect(),
            folder: self.folder.path().join("project/deep"),
        };
        assert!(!format!("{environment:?}").contains("dopq_"));
        resolve(flags, &environment)
    }
}

fn flag(url: &str) -> Flags {
    Flags {
        url: Some(url.to_owned()),
        ..Flags::default()
    }
}

fn token(settings: &Settings) -> Option<&str> {
    settings.token.as_ref().map(Token::reveal)
}

#[test]
fn the_nearer_source_wins() {
    let user = "url = 'http://user'\n";
    let project = "url = 'http://project'\n";
    let variable = [("DOPQ_URL", "http://variable")];
    let none = [("DOPQ_URL", "")];
    let cases = [
        ("", "", &none, None, "http://127.0.0.1:7070/"),
        (user, "", &none, None, "http://user/"),
        (user, project, &none, None, "http://project/"),
        (user, project, &variable, None, "http://variable/"),
        (
            user,
            project,
            &variable,
            Some("https://flag/base"),
            "https://flag/base/",
        ),
    ];
    for (user, project, variables, url, expected) in cases {
        let flags = url.map_or_else(Flags::default, flag);
        let settings = Home::new(user, project).resolve(&flags, variables).unwrap();
        assert_eq!(settings.url.as_str(), expected);
    }
}

#[test]
fn each_master_gets_its_own_token() {
    let home = Home::new(
        "url = 'http://a'\n[tokens]\n'http://a' = 'dopq_a'\n'http://b/' = 'dopq_b'\n",
        "",
    );
    let at = |url: &str| home.resolve(&flag(url), &[]).unwrap();
    assert_eq!(token(&at("http://a/")), Some("dopq_a"));
    assert_eq!(token(&at("http://b")), Some("dopq_b"));
    assert_eq!(token(&at("http://c")), None);
    let own = [("DOPQ_TOKEN", " dopq_v\n")];
    assert_eq!(
        token(&home.resolve(&flag("http://c"), &own).unwrap()),
        Some("dopq_v")
    );
}

#[test]
fn a_project_cannot_send_a_token_elsewhere() {
    let home = Home::new(
        "[tokens]\n'http://known' = 'dopq_k'\n",
        "url = 'http://evil'\n",
    );
    let errors = home
        .resolve(&Flags::default(), &[("DOPQ_TOKEN", "dopq_secret")])
        .unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!format!("{errors:?}").contains("dopq_secret"));
    let settings = home.resolve(&Flags::default(), &[]).unwrap();
    assert_eq!(token(&settings), None, "nobody logged in there");

    let home = Home::new(
        "[tokens]\n'http://known' = 'dopq_k'\n",
        "url = 'http://known'\n",
    );
    let settings = home.resolve(&Flags::default(), &[]).unwrap();
    assert_eq!(token(&settings), Some("dopq_k"), "somebody logged in there");
}

#[test]
fn a_token_in_a_project_is_used_and_warned_of() {
    let home = Home::new("", "url = 'http://lab'\ntoken = 'dopq_p'\n");
    let settings = home.resolve(&Flags::default(), &[]).unwrap();
    assert_eq!(token(&settings), Some("dopq_p"));
    assert!(
        settings
            .warnings
            .iter()
            .any(|w| w.contains("contains a token")),
        "{:?}",
        settings.warnings
    );
    let settings = home.resolve(&flag("http://other"), &[]).unwrap();
    assert_eq!(token(&settings), None);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let home = Home::new("url = 7\ntokns = 1\n", "url = 'ftp://x'\nca_file = true\n");
    let variables = [
        ("DOPQ_URL", "http://a:b@c"),
        ("DOPQ_TOKEN", "dopq_a"),
        ("DOPQ_TOKEN_FILE", "/nowhere"),
    ];
    let errors = home.resolve(&flag("nonsense"), &variables).unwrap_err();
    let text: String = errors
        .iter()
        .map(|error| format!("{}: {}\n", error.place, error.message))
        .collect();
    for part in [
        "--url: \"nonsense\"",
        "DOPQ_URL: the URL contains a user",
        ".dopq.toml: url: \"ftp://x\"",
        ".dopq.toml: ca_file: must be a string, not boolean",
        "config.toml: url: must be a string, not integer",
        "config.toml: tokns: unknown setting; did you mean tokens?",
        "DOPQ_TOKEN_FILE: DOPQ_TOKEN is set too",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let home = Home::new("", "url = 'http://x'\nca_file = \n");
    let errors = home.resolve(&Flags::default(), &[]).unwrap_err();
    assert!(
        errors[0].place.ends_with(".dopq.toml, line 2"),
        "{errors:?}"
    );
}

#[test]
fn plain_http_is_warned_of_unless_it_stays_here() {
    let home = Home::new("", "");
    let warned = |url: &str| {
        let settings = home
            .resolve(&flag(url), &[("DOPQ_TOKEN", "dopq_x")])
            .unwrap();
        !settings.warnings.is_empty()
    };
    assert!(warned("http://gpu-queue"));
    assert!(!warned("https://gpu-queue"));
    assert!(!warned("http://127.0.0.1:7070"));
    assert!(!warned("http://[::1]:7070"));
    assert!(!warned("http://localhost:7070"));
}

#[cfg(unix)]
#[test]
fn a_login_is_kept_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new(
        "ca_file = 'ca.pem'\n[tokens]\n'http://old' = 'dopq_o'\n",
        "",
    );
    let path = home.folder.path().join(".config/dopq/config.toml");
    let url = parse_url("http://new:7070").unwrap();
    save_login(&path, &url, &Token::parse("dopq_n").unwrap()).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let settings = home.resolve(&Flags::default(), &[]).unwrap();
    assert_eq!(settings.url.as_str(), "http://new:7070/");
    assert_eq!(token(&settings), Some("dopq_n"));
    assert!(settings.ca_file.unwrap().ends_with(".config/dopq/ca.pem"));
    assert_eq!(
        token(&home.resolve(&flag("http://old"), &[]).unwrap()),
        Some("dopq_o")
    );
    assert!(!format!("{:?}", home.resolve(&Flags::default(), &[])).contains("dopq_n"));
}

const CONTEXTS: &str = "context = 'lab'\nurl = 'http://old'\nca_file = 'mine.pem'\n\
    [contexts.lab]\nurl = 'https://lab/'\nca_file = 'lab.pem'\n\
    [contexts.cloud]\nurl = 'https://cloud'\n\
    [tokens]\n'https://lab' = 'dopq_l'\n'https://cloud' = 'dopq_c'\n";

fn context(name: &str) -> Flags {
    Flags {
        context: Some(name.to_owned()),
        ..Flags::default()
    }
}

#[test]
fn a_context_names_a_master_and_its_token() {
    let none = [("DOPQ_CONTEXT", "")];
    let cloud = [("DOPQ_CONTEXT", "cloud")];
    let url = [("DOPQ_URL", "https://cloud")];
    let cases = [
        (
            "",
            &none,
            Flags::default(),
            Some("lab"),
            "https://lab/",
            "lab.pem",
        ),
        (
            "",
            &none,
            context("cloud"),
            Some("cloud"),
            "https://cloud/",
            "mine.pem",
        ),
        (
            "",
            &cloud,
            Flags::default(),
            Some("cloud"),
            "https://cloud/",
            "mine.pem",
        ),
        (
            "",
            &cloud,
            context("lab"),
            Some("lab"),
            "https://lab/",
            "lab.pem",
        ),
        (
            "",
            &url,
            Flags::default(),
            None,
            "https://cloud/",
            "mine.pem",
        ),
        (
            "",
            &url,
            context("lab"),
            Some("lab"),
            "https://lab/",
            "lab.pem",
        ),
        (
            "",
            &cloud,
            flag("https://lab"),
            None,
            "https://lab/",
            "lab.pem",
        ),
        (
            "context = 'cloud'",
            &none,
            Flags::default(),
            Some("cloud"),
            "https://cloud/",
            "mine.pem",
        ),
        (
            "url = 'https://cloud'",
            &none,
            context("lab"),
            Some("lab"),
            "https://lab/",
            "lab.pem",
        ),
    ];
    for (project, variables, flags, name, master, ca_file) in cases {
        let home = Home::new(CONTEXTS, project);
        let settings = home.resolve(&flags, variables).unwrap();
        assert_eq!(settings.context.as_deref(), name, "{project} {flags:?}");
        assert_eq!(settings.url.as_str(), master);
        let expected = if master == "https://lab/" {
            "dopq_l"
        } else {
            "dopq_c"
        };
        assert_eq!(token(&settings), Some(expected));
        let found = settings.ca_file.as_ref().unwrap();
        assert!(found.ends_with(ca_file), "{found:?}");
    }
}

#[test]
fn a_project_chooses_among_contexts_but_not_where_a_token_goes() {
    let home = Home::new(CONTEXTS, "context = 'cloud'\ntoken = 'dopq_p'\n");
    let settings = home.resolve(&Flags::default(), &[]).unwrap();
    assert_eq!(token(&settings), Some("dopq_c"), "saved for that master");

    let file = home.folder.path().join("token");
    fs::write(&file, "dopq_secret").unwrap();
    let flags = Flags {
        token_file: Some(file),
        ..Flags::default()
    };
    for project in ["context = 'cloud'\n", "url = 'http://evil'\n"] {
        let home = Home::new(CONTEXTS, project);
        for (flags, variables) in [
            (Flags::default(), vec![("DOPQ_TOKEN", "dopq_secret")]),
            (flags.clone(), vec![]),
        ] {
            let errors = home.resolve(&flags, &variables).unwrap_err();
            assert_eq!(errors.len(), 1, "{project} {errors:?}");
            assert!(errors[0].message.contains("must not choose"), "{errors:?}");
            assert!(!format!("{errors:?}").contains("dopq_secret"));
        }
    }
    // Contexts are the user's own: a project can define none, and no certificates for one.
    let home = Home::new(CONTEXTS, "[contexts.lab]\nurl = 'http://evil'\n");
    assert!(home.resolve(&Flags::default(), &[]).is_err());
    for project in [
        "ca_file = 'evil.pem'",
        "context = 'lab'\nca_file = 'evil.pem'",
    ] {
        let settings = Home::new(CONTEXTS, project)
            .resolve(&Flags::default(), &[])
            .unwrap();
        assert!(settings.ca_file.unwrap().ends_with("lab.pem"), "{project}");
    }
}

#[test]
fn mistakes_with_contexts_are_told() {
    let user = "context = 'lap'\n[contexts.lab]\nurl = 'ftp://x'\nca = 1\n\
        [contexts.none]\n[contexts.'a b']\nurl = 'http://x'\n[contexts.good]\nurl = 'http://good'\n";
    let home = Home::new(user, "url = 'http://x'\ncontext = 'good'\n");
    let flags = Flags {
        url: Some("http://x".to_owned()),
        ..context("god")
    };
    let variables = [("DOPQ_URL", "http://x"), ("DOPQ_CONTEXT", "good")];
    let errors = home.resolve(&flags, &variables).unwrap_err();
    let text: String = errors
        .iter()
        .map(|error| format!("{}: {}\n", error.place, error.message))
        .collect();
    for part in [
        "config.toml: context: no context \"lap\"; yours are good",
        "config.toml: contexts.lab.url: \"ftp://x\"",
        "config.toml: contexts.lab.ca: unknown setting; the settings are ca_file, url",
        "config.toml: contexts.none.url: is missing",
        "config.toml: contexts: \"a b\" is not a name",
        "--context: no context \"god\"",
        "--context: --url is set too",
        "DOPQ_CONTEXT: DOPQ_URL is set too",
        ".dopq.toml: context: url is set too",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn changes_keep_what_they_do_not_concern() {
    let home = Home::new(CONTEXTS, "");
    let path = home.folder.path().join(".config/dopq/config.toml");
    let own = || home.resolve(&Flags::default(), &[]).unwrap();
    let url = |text| parse_url(text).unwrap();
    use_context(&path, "cloud").unwrap();
    assert_eq!(token(&own()), Some("dopq_c"));
    add_context(&path, "two", &url("https://lab"), None).unwrap();
    assert!(!remove_context(&path, "two", &url("https://lab")).unwrap());
    assert!(remove_context(&path, "lab", &url("https://lab")).unwrap());
    assert_eq!(
        token(&home.resolve(&flag("https://lab"), &[]).unwrap()),
        None
    );
    assert_eq!(token(&own()), Some("dopq_c"), "the other's token stays");
    assert!(remove_context(&path, "cloud", &url("https://cloud")).unwrap());
    assert_eq!(own().url.as_str(), "http://old/", "no context is left");

    // A login makes its master the default, by name where it has one.
    add_context(&path, "new", &url("https://new"), None).unwrap();
    let token = Token::parse("dopq_n").unwrap();
    save_login(&path, &url("https://new"), &token).unwrap();
    assert_eq!(own().context.as_deref(), Some("new"));
    save_login(&path, &url("https://bare"), &token).unwrap();
    assert_eq!(own().context, None);
    assert_eq!(own().url.as_str(), "https://bare/");
}
