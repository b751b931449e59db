//! The checks on small crates that are written for them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::circles;
use crate::graph::Graph;

/// A crate in a folder of its own, removed when it is dropped.
struct Small(PathBuf);

impl Small {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("dopq-structure-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        for (file, text) in files {
            let file = root.join("src").join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Self(root)
    }

    fn graph(&self) -> Graph {
        Graph::read(&self.0, Path::new("src/lib.rs")).unwrap()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let found = circles::find(&Small::new(files).graph());
    found
        .into_iter()
        .map(|circle| circle.into_iter().collect())
        .collect()
}

#[test]
fn a_circle_is_found_and_told_with_what_closes_it() {
    let small = Small::new(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f() { let _ = crate::c::g(); }"),
        ("c.rs", "pub fn g() { println!(\"{}\", super::a::NAME); }"),
    ]);
    let faults = circles::faults(&small.graph(), &[]);
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert!(fault.starts_with("circle of 3 files:"), "{fault}");
    assert!(
        fault.contains("src/a.rs imports crate::b::B from src/b.rs"),
        "{fault}"
    );
    assert!(
        fault.contains("src/c.rs imports super::a::NAME from src/a.rs"),
        "{fault}"
    );
}

#[test]
fn a_meant_circle_is_no_fault() {
    let small = Small::new(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use crate::a::A; pub struct B(Box<A>);"),
    ]);
    let meant: [(&[&str], &str); 1] = [(&["src/a.rs", "src/b.rs"], "for the test")];
    assert_eq!(circles::faults(&small.graph(), &meant), [""; 0]);
    assert_eq!(circles::faults(&small.graph(), &[]).len(), 1);
    // Once it is gone, or one of its files is, it has no place on the list.
    let gone: [(&[&str], &str); 2] = [meant[0], (&["src/a.rs", "src/gone.rs"], "for the test")];
    let faults = circles::faults(&small.graph(), &gone);
    assert!(
        faults.len() == 1 && faults[0].contains("gone.rs"),
        "{faults:?}"
    );
}

#[test]
fn a_name_counts_for_the_file_that_defines_it() {
    // b imports A through the facade, and a imports nothing of b: no circle.
    let through_facade = [
        ("lib.rs", "mod f;"),
        ("f/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("f/a.rs", "pub struct A;"),
        ("f/b.rs", "use super::A; pub struct B(A);"),
    ];
    assert!(circles(&through_facade).is_empty());
    let closed = [
        through_facade[0],
        through_facade[1],
        ("f/a.rs", "use crate::f::B; pub struct A(Box<B>);"),
        through_facade[3],
    ];
    assert_eq!(circles(&closed), [["src/f/a.rs", "src/f/b.rs"]]);
}

#[test]
fn a_glob_counts_for_the_file_that_defines_the_name() {
    let files = [
        ("lib.rs", "mod f; mod user;"),
        ("f/mod.rs", "mod a; pub use a::*;"),
        ("f/a.rs", "use crate::user::U; pub struct A(U);"),
        ("user.rs", "use crate::f::A; pub struct U(Box<A>);"),
    ];
    assert_eq!(circles(&files), [["src/f/a.rs", "src/user.rs"]]);
}

#[test]
fn tests_are_left_out() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        (
            "b.rs",
            "pub struct B;
            #[cfg(test)] mod tests { use crate::a::A; fn t(_: A) {} }
            #[cfg(all(test, unix))] mod more { use crate::a::A; fn t(_: A) {} }",
        ),
    ];
    assert!(circles(&files).is_empty());
}

#[test]
fn an_upward_import_is_a_fault_and_a_downward_one_is_not() {
    let small = Small::new(&[
        ("lib.rs", "mod low; mod high;"),
        ("low/mod.rs", "pub mod a;"),
        ("low/a.rs", "use crate::high::b::B; pub struct A(B);"),
        ("high/mod.rs", "pub mod b;"),
        ("high/b.rs", "pub struct B;"),
    ]);
    let graph = small.graph();
    let faults = graph.upward_imports("src", &["low", "high"]);
    let faults: Vec<_> = faults.into_iter().collect();
    assert_eq!(
        faults,
        ["upward import: src/low/a.rs imports crate::high::b::B from src/high/b.rs"]
    );
    assert!(graph.upward_imports("src", &["high", "low"]).is_empty());
}
