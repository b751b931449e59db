//! Tests of the layers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::*;
use crate::resources::ByteSize;

crate::settings! {
    /// A program's settings.
    #[derive(Debug)]
    struct Settings {
        /// Where to listen.
        listen: String = "127.0.0.1:7070".to_owned();
        /// The secret,
        /// on two lines
        secret: Option<SecretString> = None;
        /// Labels
        labels: BTreeMap<String, String> = BTreeMap::new();
        /// Several
        urls: Vec<BaseUrl> = Vec::new();
        /// The store
        store: Store = Store { tries: 3, ..Store::default() };
        /// Among ours
        more as "": More = More::default();
    }
}

crate::settings! {
    /// Settings of a table.
    #[derive(Debug)]
    struct Store {
        /// Its URL
        url: Option<ServiceUrl> = None, ServiceUrl::with_scheme(["redis", "rediss"]);
        /// Its time-out
        timeout: Duration = Duration::from_secs(5), at_least(Duration::from_millis(100));
        /// Its tries
        tries: u32 = 1, between(1, 9);
    }
}

crate::settings! {
    /// Settings without a table of their own.
    #[derive(Debug)]
    struct More {
        /// A size
        bytes as "size": ByteSize = ByteSize(ByteSize::GIB);
    }
}

/// A file system of a few files.
fn file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("good.toml") => Ok(
            "listen = \"f:1\"\nurls = \"http://a, http://b/\"\n[store]\nurl = \"redis://f\"\ntimeout = 7\n".to_owned(),
        ),
        Some("bad.toml") => Ok(
            "lissen = 1\nlisten = []\nstore = 3\n[stor]\nurl = 1\n[labels]\na = [1]\n".to_owned(),
        ),
        Some("broken.toml") => Ok("listen = \"x\nlissen = 1\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn layers() -> Layers {
    Layers::new(Settings::keys(), file)
}

fn mistakes(mut layers: Layers) -> String {
    let _settings = Settings::from_layers(&mut layers);
    layers.check().expect_err("mistakes").to_string()
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn later_layers_win() {
    let mut layers = layers();
    layers.file(Some(Path::new("good.toml")), None);
    layers.environment([
        variable("DOPQ_STORE_URL", "redis://e"),
        variable("DOPQ_LABELS", "zone=a,rack=2"),
        variable("DOPQ_SECRET", "s"),
        variable("HOME", "/"),
    ]);
    layers.flag("--listen", "listen", Some("l:1"));
    layers.flag("--tries", "store.tries", None);
    layers.set(&["size=20m".to_owned()]);
    let settings = Settings::from_layers(&mut layers);
    layers.check().expect("no mistake");
    assert_eq!(settings.listen, "l:1");
    let url = settings.store.url.expect("set");
    assert_eq!(url.reveal().as_str(), "redis://e");
    assert_eq!(settings.store.timeout, Duration::from_secs(7));
    assert_eq!(settings.store.tries, 3);
    assert_eq!(settings.more.bytes, ByteSize(20 << 20));
    let urls: Vec<&str> = settings.urls.iter().map(|url| &**url).collect();
    assert_eq!(urls, ["http://a", "http://b"]);
    assert_eq!(settings.labels.get("rack").map(String::as_str), Some("2"));
    assert_eq!(settings.secret.expect("set").expose_secret(), "s");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut layers = layers();
    layers.file(Some(Path::new("bad.toml")), None);
    layers.environment([variable("DOPQ_STORE_URL", "http://u:p4ss@h")]);
    layers.flag("--set", "nothing.of.the.kind", Some("1"));
    layers.flag("--set", "store.timeout", Some("soon"));
    layers.flag("--set", "store.tries", Some("10"));
    layers.set(&["secret=s3cret".to_owned(), "listen".to_owned()]);
    layers.flag("--set", "store.url", Some("redis://u:p4ss@h"));
    let mistakes = mistakes(layers);
    for part in [
        "the configuration has 12 errors",
        "bad.toml:1: unknown setting `lissen`; did you mean `listen`?",
        "bad.toml:2: `listen` must be one value, not of type array",
        "bad.toml:3: `store` is a table of settings",
        "bad.toml:4: unknown setting `stor`",
        "bad.toml:6: `labels` must be a table of names with values",
        "DOPQ_STORE_URL: `store.url`: it does not begin with redis:// or rediss://",
        "--set: unknown setting `nothing.of.the.kind`",
        "--set: `store.timeout`: \"soon\" is not a duration",
        "--set: `store.tries`: 10 is not from 1 to 9",
        "--set: every user of this machine can read arguments; give `secret` as DOPQ_SECRET",
        "--set: every user of this machine can read arguments; give `store.url` as DOPQ_STORE_URL",
        "--set: \"listen\" is not written NAME=VALUE",
    ] {
        assert!(mistakes.contains(part), "{part:?} is not in {mistakes}");
    }
    assert!(!mistakes.contains("p4ss") && !mistakes.contains("s3cret"));
}

#[test]
fn broken_toml_is_told_and_the_rest_still_read() {
    let mut layers = layers();
    layers.file(Some(Path::new("broken.toml")), None);
    let mistakes = mistakes(layers);
    assert!(mistakes.contains("broken.toml:1: "), "{mistakes}");
    assert!(
        mistakes.contains("broken.toml:2: unknown setting `lissen`"),
        "{mistakes}"
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let absent = Path::new("absent.toml");
    let mut layers = layers();
    layers.file(None, Some(absent));
    layers.check().expect("the usual file may be absent");
    layers.file(Some(absent), None);
    assert!(mistakes(layers).contains("absent.toml: cannot be read"));
}

#[test]
fn a_slip_in_a_variables_name_is_hinted_at() {
    let mut layers = layers();
    layers.environment([
        variable("DOPQ_STORE_ULR", "1"),
        variable("DOPQ_URL", "1"),
        variable("DOPQ_QUITE_ANOTHER_PROGRAM", "1"),
    ]);
    assert_eq!(
        layers.hints(),
        ["unknown variable DOPQ_STORE_ULR; did you mean DOPQ_STORE_URL?"]
    );
    layers.check().expect("no mistake");
}

#[test]
fn what_is_printed_has_no_secret_and_can_be_read_back() {
    let mut layers = layers();
    layers.environment([
        variable("DOPQ_SECRET", "s3cret"),
        variable("DOPQ_STORE_URL", "redis://u:p4ss@h:1/0"),
    ]);
    layers.flag("--labels", "labels", Some("a=b"));
    layers.flag("--listen", "listen", Some("x\"y"));
    let printed = layers.print();
    for shown in [&printed, &format!("{layers:?}")] {
        assert!(
            !shown.contains("s3cret") && !shown.contains("p4ss"),
            "{shown}"
        );
    }
    for line in [
        "listen = \"x\\\"y\" # --listen",
        "secret = \"(hidden)\" # DOPQ_SECRET",
        "labels = { \"a\" = \"b\" } # --labels",
        "# urls is not set",
        "size = \"1g\" # default",
        "[store]",
        "url = \"redis://u:(hidden)@h:1/0\" # DOPQ_STORE_URL",
        "timeout = \"5s\" # default",
        "tries = 3 # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in {printed}"
        );
    }
    let content = super::file::read(&Settings::keys(), &printed);
    assert!(content.unknown.is_empty() && content.wrong.is_empty());
    assert_eq!(content.found.len(), 7);
}

#[test]
fn a_row_of_the_documentation_has_default_meaning_and_form() {
    let keys = Settings::keys();
    let rows: Vec<String> = keys.iter().map(Key::row).collect();
    assert_eq!(rows[0], "| `listen` | `127.0.0.1:7070` | Where to listen |");
    assert_eq!(
        rows[1],
        "| `secret` |  | The secret, on two lines (never shown) |"
    );
    assert_eq!(
        rows[2],
        "| `labels` |  | Labels (a table; elsewhere `name=value,name=value`) |"
    );
}

/// Text, what it is shown as; `None` for a refusal.
fn check<T: Scalar>(pairs: &[(&str, Option<&str>)]) {
    for (text, shown) in pairs {
        let read = T::read(text).ok().map(|value| value.show());
        assert_eq!(read.as_deref(), *shown, "{text:?}");
    }
}

#[test]
fn single_values_are_read_shown_or_refused() {
    check::<Share>(&[
        ("5%", Some("5%")),
        ("0.05", Some("5%")),
        ("NaN", None),
        ("100%", None),
    ]);
    check::<std::net::SocketAddr>(&[
        ("localhost:7070", Some("127.0.0.1:7070")),
        ("[::]:1", Some("[::]:1")),
        ("7070", None),
    ]);
    check::<BaseUrl>(&[
        ("http://m:1/", Some("http://m:1")),
        ("ftp://x", None),
        ("http://u:p@x", None),
    ]);
    check::<ClusterName>(&[
        ("lab-2", Some("lab-2")),
        ("Upper", None),
        ("-a", None),
        ("", None),
    ]);
    check::<u32>(&[("7", Some("7")), ("-1", None), ("4294967296", None)]);
    check::<f64>(&[("0.1", Some("0.1")), ("-1", None), ("NaN", None)]);
    check::<bool>(&[("on", Some("true")), ("0", Some("false")), ("maybe", None)]);
    check::<Duration>(&[
        ("24h", Some("24h")),
        ("90s", Some("90s")),
        ("120", Some("2m")),
        ("250ms", Some("250ms")),
        ("0", Some("0ms")),
    ]);
    check::<ByteSize>(&[
        ("1.5g", Some("1536m")),
        ("1000", Some("1000")),
        ("0", Some("0")),
    ]);
    check::<(String, f64)>(&[("h100=4", Some("h100=4")), ("h100", None), ("=1", None)]);
    check::<crate::resources::MilliCpu>(&[("many", None), ("0", None)]);
    let url = ServiceUrl::read("redis://u:p4ss@[::1]:6379/0").expect("a URL");
    assert!(url.is_loopback() && !format!("{url:?}").contains("p4ss"));
    assert!(
        !ServiceUrl::read("redis://127.0.0.1.example")
            .expect("a URL")
            .is_loopback()
    );
}
