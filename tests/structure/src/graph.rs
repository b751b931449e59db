//! Which file imports from which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules::{self, Module};

/// How many re-exports are followed for one name.
const HOPS_MAX: usize = 16;

/// The files of a crate and their imports.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The files that each file imports from, with one path that says so.
    pub(crate) imports: BTreeMap<String, BTreeMap<String, String>>,
}

impl Graph {
    /// Reads the crate that begins with this file.
    ///
    /// # Errors
    /// When a file cannot be read or parsed.
    pub(crate) fn read(root: &Path, entry: &Path) -> Result<Self, String> {
        let modules = modules::read(root, entry)?;
        let resolver = Resolver { modules: &modules };
        let mut graph = Self::default();
        for (number, module) in modules.iter().enumerate() {
            let from = module.file.display().to_string();
            let imports = graph.imports.entry(from.clone()).or_default();
            let brought = module.imports.values().chain(&module.globs);
            let brought = brought.filter(|import| {
                let (is_module, is_below) = resolver.kind(number, &import.path);
                // A module is imported for what is then named in it.
                !(is_module || import.is_facade && is_below)
            });
            let named = brought.map(|import| &import.path);
            for path in named.chain(&module.mentions) {
                let Some(target) = resolver.resolve(number, path, HOPS_MAX) else {
                    continue;
                };
                let to = modules.get(target).map(|to| to.file.display().to_string());
                if let Some(to) = to.filter(|to| *to != from) {
                    imports.entry(to).or_insert_with(|| path.join("::"));
                }
            }
        }
        Ok(graph)
    }

    /// A sentence for each import from a folder to one above it.
    pub(crate) fn upward_imports(&self, folder: &str, layers: &[&str]) -> BTreeSet<String> {
        let layer = |file: &str| {
            let below = file.strip_prefix(folder)?.strip_prefix('/')?;
            let (first, _) = below.split_once('/')?;
            layers.iter().position(|layer| *layer == first)
        };
        let mut faults = BTreeSet::new();
        for (from, imports) in &self.imports {
            for (to, path) in imports {
                if let (Some(low), Some(high)) = (layer(from), layer(to))
                    && low < high
                {
                    faults.insert(format!("upward import: {from} imports {path} from {to}"));
                }
            }
        }
        faults
    }
}

struct Resolver<'a> {
    modules: &'a [Module],
}

impl Resolver<'_> {
    /// Whether a path names a module, and whether what it names is below the module where it stands.
    fn kind(&self, from: usize, path: &[String]) -> (bool, bool) {
        let is_module = self.module_at(from, path).is_some();
        let mut at = self.resolve(from, path, HOPS_MAX);
        let mut is_below = false;
        while let Some(number) = at {
            at = self.modules.get(number).and_then(|module| module.parent);
            is_below |= at == Some(from);
        }
        (is_module, is_below)
    }

    /// The module that a path names, if it names one.
    fn module_at(&self, from: usize, path: &[String]) -> Option<usize> {
        let mut at = from;
        for (place, name) in path.iter().enumerate() {
            let module = self.modules.get(at)?;
            at = match name.as_str() {
                "crate" if place == 0 => 0,
                "self" if place == 0 => from,
                "super" => module.parent?,
                name => *module.children.get(name)?,
            };
        }
        Some(at)
    }

    /// The module that defines what a path names, as seen from a module; `None` for another crate's.
    fn resolve(&self, from: usize, path: &[String], hops: usize) -> Option<usize> {
        let module = self.modules.get(from)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(0, rest, hops),
            "self" => self.walk(from, rest, hops),
            "super" => {
                let mut at = module.parent?;
                let mut rest = rest;
                while let Some((next, after)) =
                    rest.split_first().filter(|(next, _)| *next == "super")
                {
                    debug_assert_eq!(next, "super");
                    at = self.modules.get(at)?.parent?;
                    rest = after;
                }
                self.walk(at, rest, hops)
            }
            name => {
                if let Some(child) = module.children.get(name) {
                    return self.walk(*child, rest, hops);
                }
                // What is named in an imported module counts; the import itself does so already.
                let import = module.imports.get(name).filter(|_| !rest.is_empty())?;
                let (is_module, _) = self.kind(from, &import.path);
                let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                let goes_on = is_module && hops > 0;
                goes_on.then(|| self.resolve(from, &whole, hops - 1))?
            }
        }
    }

    fn walk(&self, mut at: usize, path: &[String], hops: usize) -> Option<usize> {
        let mut rest = path;
        while let Some((name, after)) = rest.split_first() {
            let module = self.modules.get(at)?;
            if let Some(child) = module.children.get(name) {
                at = *child;
                rest = after;
                continue;
            }
            if module.items.contains(name) || hops == 0 {
                return Some(at);
            }
            let known = module.imports.get(name);
            if let Some(import) = known {
                let whole: Vec<String> = import.path.iter().chain(after).cloned().collect();
                return self.resolve(at, &whole, hops - 1).or(Some(at));
            }
            let globs = module.globs.iter();
            let through = globs.filter_map(|glob| {
                let target = self.resolve(at, &glob.path, hops - 1)?;
                let module = self.modules.get(target)?;
                let has = module.items.contains(name) || module.children.contains_key(name);
                has.then_some(target)
            });
            return through.take(1).next().or(Some(at));
        }
        Some(at)
    }
}
