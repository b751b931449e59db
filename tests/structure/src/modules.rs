//! Reads the modules of a crate from its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

use crate::paths::{self, Found};

/// A module: a file, or a module that is written out inside one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file, relative to the root of the checkout.
    pub(crate) file: PathBuf,
    /// Child modules by name, as numbers of [`read`]'s list.
    pub(crate) children: BTreeMap<String, usize>,
    pub(crate) parent: Option<usize>,
    /// Names that `use` brings in.
    pub(crate) imports: BTreeMap<String, Import>,
    /// `use …::*`.
    pub(crate) globs: Vec<Import>,
    /// Names that are defined here.
    pub(crate) items: Vec<String>,
    /// Every path that the module mentions, with its line.
    pub(crate) mentions: Vec<Found>,
}

/// What a name that `use` brings in stands for.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// Whether it is only handed on: `pub use` of a child module's names, which makes the module a facade.
    pub(crate) is_facade: bool,
}

/// The modules of the crate that begins with this file; the first is its root. Tests are left out.
///
/// # Errors
/// When a file cannot be read or parsed.
pub(crate) fn read(root: &Path, entry: &Path) -> Result<Vec<Module>, String> {
    let mut reader = Reader {
        root,
        modules: Vec::new(),
    };
    let folder = entry.parent().map(Path::to_path_buf).unwrap_or_default();
    reader.file(entry, &folder, None)?;
    Ok(reader.modules)
}

struct Reader<'a> {
    root: &'a Path,
    modules: Vec<Module>,
}

impl Reader<'_> {
    fn file(&mut self, file: &Path, folder: &Path, parent: Option<usize>) -> Result<usize, String> {
        let told = |error: String| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(self.root.join(file));
        let text = text.map_err(|error| told(error.to_string()))?;
        let parsed = syn::parse_file(&text).map_err(|error| told(error.to_string()))?;
        self.module(file, folder, parent, &parsed.items)
    }

    fn module(
        &mut self,
        file: &Path,
        folder: &Path,
        parent: Option<usize>,
        items: &[Item],
    ) -> Result<usize, String> {
        let number = self.modules.len();
        self.modules.push(Module {
            file: file.to_path_buf(),
            parent,
            ..Module::default()
        });
        let mut module = Module {
            file: file.to_path_buf(),
            parent,
            ..Module::default()
        };
        for item in items {
            if paths::attributes(item).is_some_and(is_test) {
                continue;
            }
            match item {
                Item::Mod(child) => {
                    let name = child.ident.to_string();
                    let below = folder.join(&name);
                    let at = match &child.content {
                        Some((_, items)) => self.module(file, &below, Some(number), items)?,
                        None => {
                            let flat = folder.join(format!("{name}.rs"));
                            let is_flat = self.root.join(&flat).exists();
                            let file = if is_flat { flat } else { below.join("mod.rs") };
                            self.file(&file, &below, Some(number))?
                        }
                    };
                    module.children.insert(name, at);
                }
                Item::Use(item) => {
                    let is_public = !matches!(item.vis, syn::Visibility::Inherited);
                    add_use(&mut module, is_public, &mut Vec::new(), &item.tree);
                }
                other => {
                    module.items.extend(paths::name_of(other));
                    module.mentions.extend(paths::in_item(other));
                }
            }
        }
        if let Some(slot) = self.modules.get_mut(number) {
            *slot = module;
        }
        Ok(number)
    }
}

fn add_use(module: &mut Module, is_public: bool, before: &mut Vec<String>, tree: &UseTree) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            add_use(module, is_public, before, &path.tree);
            before.pop();
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let mut path = before.clone();
            // `use a::b::{self}` is `use a::b`.
            let known_as = if name == "self" {
                path.last().cloned().unwrap_or_default()
            } else {
                path.push(name.clone());
                name
            };
            module.imports.insert(
                known_as,
                Import {
                    path,
                    is_facade: is_public,
                },
            );
        }
        UseTree::Rename(rename) => {
            let mut path = before.clone();
            path.push(rename.ident.to_string());
            // Several traits may be imported as `_`.
            let known_as = format!("{}#{}", rename.rename, module.imports.len());
            let known_as = if rename.rename == "_" {
                known_as
            } else {
                rename.rename.to_string()
            };
            module.imports.insert(
                known_as,
                Import {
                    path,
                    is_facade: is_public,
                },
            );
        }
        UseTree::Glob(_) => module.globs.push(Import {
            path: before.clone(),
            is_facade: is_public,
        }),
        UseTree::Group(group) => {
            for tree in &group.items {
                add_use(module, is_public, before, tree);
            }
        }
    }
}

/// Whether an item is compiled for tests only: `cfg(test)`, or `cfg(all(…))` with it.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<Meta>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            parts.is_ok_and(|parts| parts.iter().any(needs_test))
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}
