//! Tests of the layers.

use super::*;
use crate::bundle::config::duration;

const KEYS: &[Key] = &[
    Key::new("listen", Some("127.0.0.1:7070"), "where to listen"),
    Key::new("secret", None, "the secret").secret(),
    Key::new("labels", None, "labels").shaped(Shape::Map),
    Key::new("store.url", None, "the store"),
    Key::new("store.timeout", Some("5s"), "its time-out"),
    Key::new("urls", None, "several").shaped(Shape::List),
];

fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[test]
fn later_layers_have_their_way() {
    let mut layers = Layers::new(KEYS);
    layers.file(
        "a.toml",
        "listen = \"f:1\"\n[store]\nurl = \"f\"\ntimeout = 7\n",
    );
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    layers.environment([
        set("DOPQ_STORE_URL", "e"),
        set("DOPQ_URLS", "a, b"),
        set("DOPQ_LABELS", "zone=a,rack=2"),
        set("HOME", "/"),
    ]);
    layers.flag("--listen", "listen", "l:1");
    assert_eq!(layers.get("listen", text).as_deref(), Some("l:1"));
    assert_eq!(layers.get("store.url", text).as_deref(), Some("e"));
    let timeout = layers.get("store.timeout", duration).expect("set");
    assert_eq!(timeout.as_secs(), 7);
    assert_eq!(layers.list("urls", text), ["a", "b"]);
    assert_eq!(
        layers.map("labels").get("rack").map(String::as_str),
        Some("2")
    );
    assert_eq!(layers.get("secret", text), None);
    layers.check().expect("no mistake");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let mut layers = Layers::new(KEYS);
    layers.file(
        "a.toml",
        "lissen = 1\nlisten = []\nstore = 3\n[stor]\nurl = 1\n[labels]\na = [1]\n",
    );
    layers.flag("--set", "nothing.of.the.kind", "1");
    layers.flag("--set", "store.timeout", "soon");
    assert_eq!(layers.get("store.timeout", duration), None);
    let mistakes = layers.check().expect_err("mistakes").to_string();
    for part in [
        "the configuration has 7 errors",
        "a.toml:1: unknown setting `lissen`; did you mean `listen`?",
        "a.toml:2: `listen` must be one value, not of type array",
        "a.toml:3: `store` is a table of settings",
        "a.toml:4: unknown setting `stor`",
        "a.toml:6: `labels` must be a table of names with values",
        "--set: unknown setting `nothing.of.the.kind`",
        "--set: `store.timeout`: \"soon\" is not a duration",
    ] {
        assert!(mistakes.contains(part), "{part:?} is not in {mistakes}");
    }
}

#[test]
fn broken_toml_is_told_and_the_rest_still_read() {
    let mut layers = Layers::new(KEYS);
    layers.file("a.toml", "listen = \"x\nlissen = 1\n");
    let mistakes = layers.check().expect_err("mistakes").to_string();
    assert!(mistakes.contains("a.toml:1: "), "{mistakes}");
    assert!(
        mistakes.contains("a.toml:2: unknown setting `lissen`"),
        "{mistakes}"
    );
}

#[test]
fn a_slip_in_a_variables_name_is_hinted_at() {
    let mut layers = Layers::new(KEYS);
    let set = |name: &str| (name.to_owned(), "1".to_owned());
    layers.environment([set("DOPQ_STORE_ULR"), set("DOPQ_QUITE_ANOTHER_PROGRAM")]);
    assert_eq!(
        layers.hints(),
        ["unknown variable DOPQ_STORE_ULR; did you mean DOPQ_STORE_URL?"]
    );
    layers.check().expect("no mistake");
}

#[test]
fn what_is_printed_has_no_secret_and_can_be_read_back() {
    let mut layers = Layers::new(KEYS);
    layers.flag("--secret", "secret", "s3cret");
    layers.flag("--store-url", "store.url", "redis://u:p4ss@h:1/0");
    layers.flag("--labels", "labels", "a=b");
    layers.flag("--urls", "urls", "x\"y");
    let printed = layers.print();
    assert!(
        !printed.contains("s3cret") && !printed.contains("p4ss"),
        "{printed}"
    );
    assert!(
        printed.contains("url = \"redis://u:(hidden)@h:1/0\" # --store-url"),
        "{printed}"
    );
    assert!(printed.contains("timeout = \"5s\" # default"), "{printed}");
    let mut again = Layers::new(KEYS);
    again.file("printed", &printed);
    again.check().expect("reads back");
    assert_eq!(again.list("urls", text), ["x\"y"]);
}
