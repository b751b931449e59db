//! The paths that an item mentions.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Macro};

/// A mentioned path: its first segments, as written.
pub(crate) type Found = Vec<String>;

/// An item's attributes.
pub(crate) fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

/// The name that an item defines.
pub(crate) fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Every path of more than one segment in an item, those in macros included.
pub(crate) fn in_item(item: &Item) -> Vec<Found> {
    let mut paths = Paths(Vec::new());
    paths.visit_item(item);
    paths.0
}

struct Paths(Vec<Found>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        let segments: Found = segments.map(|part| part.ident.to_string()).collect();
        if segments.len() > 1 && path.leading_colon.is_none() {
            self.0.push(segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A `use` inside a function.
        in_tree(&mut self.0, &mut Vec::new(), &item.tree);
    }

    fn visit_macro(&mut self, found: &'ast Macro) {
        in_tokens(&mut self.0, found.tokens.clone());
    }
}

fn in_tree(found: &mut Vec<Found>, before: &mut Found, tree: &syn::UseTree) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            in_tree(found, before, &path.tree);
            before.pop();
        }
        syn::UseTree::Name(name) => {
            let mut path = before.clone();
            path.push(name.ident.to_string());
            found.push(path);
        }
        syn::UseTree::Rename(rename) => {
            let mut path = before.clone();
            path.push(rename.ident.to_string());
            found.push(path);
        }
        syn::UseTree::Glob(_) => found.push(before.clone()),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                in_tree(found, before, tree);
            }
        }
    }
}

fn in_tokens(found: &mut Vec<Found>, tokens: TokenStream) {
    let mut path: Found = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    keep(found, &mut path);
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                keep(found, &mut path);
                colons = 0;
                in_tokens(found, group.stream());
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                keep(found, &mut path);
                colons = 0;
            }
        }
    }
    keep(found, &mut path);
}

fn keep(found: &mut Vec<Found>, path: &mut Found) {
    let path = std::mem::take(path);
    if path.len() > 1 {
        found.push(path);
    }
}
