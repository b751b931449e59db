//! Task indexes and sweeps.

use std::collections::BTreeSet;

use dopq_common::job::{INDEXES_MAX, Indexes, Sweep, SweepAxis};

use crate::dice::Dice;
use crate::run::Target;

#[test]
fn arrays_and_sweeps() {
    let wide: Vec<String> = (0..16).map(|at| format!("{at}-{}:16", 1_599_984)).collect();
    Target {
        name: "array",
        test: "array::arrays_and_sweeps",
        corpus: [
            "0-99",
            "3,10-12,40-42",
            "0-8:4, 9",
            "0-4294967295",
            "0-4294967295:2",
            "lr=0.1,0.01",
            "A=-9223372036854775808..9223372036854775807",
            &wide.join(","),
            &"0,".repeat(1 << 18),
            &format!("A={}", "1,".repeat(1 << 18)),
        ]
        .into_iter()
        .map(|text| text.as_bytes().to_vec())
        .collect(),
        generate,
        check,
        max_bytes: 1 << 20,
    }
    .run();
}

fn generate(dice: &mut Dice) -> Vec<u8> {
    let count = 1 + dice.length(5000);
    let is_sweep = dice.one_in(3);
    let parts = (0..count).map(|_| {
        let (first, last, step) = (dice.number(), dice.number(), dice.number());
        match (dice.below(6), is_sweep) {
            (0 | 1, _) => first,
            (2 | 3, false) => format!("{first}-{last}"),
            (_, false) => format!("{first}-{last}:{step}"),
            (2 | 3, true) => format!("{first}..{last}"),
            (_, true) => format!("{first}..{last}..{step}"),
        }
    });
    let parts = parts.collect::<Vec<_>>().join(",");
    let text = if is_sweep {
        format!("A={parts}")
    } else {
        parts
    };
    text.into_bytes()
}

fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.split_once('=') {
        Some((name, values)) => sweep(name, values),
        None => indexes(&text),
    }
}

fn indexes(text: &str) {
    let Ok(indexes) = text.parse::<Indexes>() else {
        return;
    };
    let all: Vec<u32> = indexes.iter().collect();
    assert!((1..=INDEXES_MAX as usize).contains(&all.len()));
    assert!(all.is_sorted_by(|a, b| a < b), "ascending, each once");
    assert_eq!(indexes.len() as usize, all.len());
    assert_eq!(
        (indexes.first(), indexes.last()),
        (all.first().copied(), all.last().copied())
    );
    let written = indexes.to_string();
    assert_eq!(
        written.parse().as_ref(),
        Ok(&indexes),
        "it is read as it is written"
    );
    if text.len() < 2000 {
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), plain(text));
    }
}

/// What a text names, read in the simplest way.
fn plain(text: &str) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = part
            .trim()
            .split_once(':')
            .unwrap_or_else(|| (part.trim(), "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let read = |text: &str| text.parse::<u32>().expect("it was read");
        named.extend((read(first)..=read(last)).step_by(read(step) as usize));
    }
    named
}

fn sweep(name: &str, values: &str) {
    let Ok(axis) = SweepAxis::parse(name, values) else {
        return;
    };
    let Ok(sweep) = Sweep::new(vec![axis]) else {
        return;
    };
    assert!((1..=INDEXES_MAX).contains(&sweep.len()));
    for index in [0, sweep.len() / 2, sweep.len() - 1] {
        assert_eq!(sweep.values(index).len(), 1);
    }
    assert!(sweep.values(sweep.len()).is_empty());
}
