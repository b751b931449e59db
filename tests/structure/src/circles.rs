//! Circles of files that import each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;

/// A text for each circle that is not meant, and for each meant one that is gone.
pub(crate) fn faults(graph: &Graph, meant: &[(&[&str], &str)]) -> Vec<String> {
    let circles = find(graph);
    let unmeant = circles.iter().filter(|circle| {
        !meant
            .iter()
            .any(|(known, _)| circle.iter().eq(known.iter()))
    });
    let mut faults: Vec<String> = unmeant.map(|circle| tell(graph, circle)).collect();
    for (files, reason) in meant {
        let is_ours = files.iter().any(|file| graph.imports.contains_key(*file));
        let is_there = circles.iter().any(|circle| circle.iter().eq(files.iter()));
        if is_ours && !is_there {
            faults.push(format!(
                "no circle any more, take it off the list: {files:?} ({reason})"
            ));
        }
    }
    faults
}

/// The files of each circle, in order.
pub(crate) fn find(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .imports
        .keys()
        .map(|file| (file, reachable(graph, file)))
        .collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (file, reached) in &reach {
        if !reached.contains(file) || circles.iter().any(|circle| circle.contains(*file)) {
            continue;
        }
        let with = reached.iter().filter(|other| {
            let back = reach.get(*other);
            back.is_some_and(|back| back.contains(file))
        });
        circles.push(with.map(|other| (*other).clone()).collect());
    }
    circles
}

fn reachable<'a>(graph: &'a Graph, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = graph
        .imports
        .get(from)
        .into_iter()
        .flat_map(BTreeMap::keys)
        .collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(graph.imports.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

fn tell(graph: &Graph, circle: &BTreeSet<String>) -> String {
    let mut text = format!("circle of {} files:", circle.len());
    for from in circle {
        let imports = graph.imports.get(from).into_iter().flatten();
        for (to, path) in imports.filter(|(to, _)| circle.contains(*to)) {
            text.push_str(&format!("\n  {from} imports {path} from {to}"));
        }
    }
    text
}
