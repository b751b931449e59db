//! Fields of structs of settings: one value, an optional one, a list, a table of names, or a struct of further settings.

use std::collections::BTreeMap;

use super::key::{Key, Shape};
use super::layers::Layers;
use super::scalar::{Scalar, any};

/// A field of a struct of settings.
pub trait Field {
    /// What bounds apply to.
    type Item;

    /// Adds its keys; `self` is the default.
    fn describe(&self, name: &str, help: &'static str, keys: &mut Vec<Key>);

    /// Takes what the layers say. What they do not set, or set wrongly, stays.
    fn fill(
        &mut self,
        name: &str,
        layers: &mut Layers,
        bounds: impl Fn(&Self::Item) -> Result<(), String>,
    );

    /// All keys of a program's settings.
    #[must_use]
    fn keys() -> Vec<Key>
    where
        Self: Default,
    {
        let mut keys = Vec::new();
        Self::default().describe("", "", &mut keys);
        keys
    }

    /// A program's settings as the layers set them.
    #[must_use]
    fn from_layers(layers: &mut Layers) -> Self
    where
        Self: Default,
    {
        let mut settings = Self::default();
        settings.fill("", layers, any);
        settings
    }
}

/// Describes settings, each in one place, as a struct with `Default` and [`Field`]:
///
/// ```
/// dopq_common::settings! {
///     /// Bounds.
///     #[derive(Debug, Clone)]
///     pub struct Limits {
///         /// Concurrent image builds
///         pub builds: usize = 2, dopq_common::settings::between(1, 1000);
///         /// Memory of an image build; by default no limit
///         pub memory as "build_memory": Option<String> = None;
///     }
/// }
/// ```
///
/// A field's doc comment is its meaning in `docs/CONFIGURATION.md`; a test compares them. `as` gives a key another name
/// than the field; `as ""` puts the keys of a nested struct among those of the outer one. Bounds come after the
/// default: a function from `&T` to `Result<(), String>`.
#[macro_export]
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])*
                $field_vis:vis $field:ident $(as $key:literal)? : $type:ty = $default:expr $(, $bounds:expr)? ;
            )*
        }
    ) => {
        $(#[$attribute])*
        $vis struct $name {
            $($(#[doc = $help])* $field_vis $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::settings::Field for $name {
            type Item = Self;

            fn describe(&self, name: &str, _: &'static str, keys: &mut Vec<$crate::settings::Key>) {
                $(
                    let key = $crate::settings::join(name, $crate::settings!(@key $field $($key)?));
                    $crate::settings::Field::describe(&self.$field, &key, concat!($($help),*), keys);
                )*
            }

            fn fill(
                &mut self,
                name: &str,
                layers: &mut $crate::settings::Layers,
                _: impl Fn(&Self) -> Result<(), String>,
            ) {
                $(
                    let key = $crate::settings::join(name, $crate::settings!(@key $field $($key)?));
                    let bounds = $crate::settings!(@bounds $($bounds)?);
                    $crate::settings::Field::fill(&mut self.$field, &key, layers, bounds);
                )*
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@bounds) => { $crate::settings::any };
    (@bounds $bounds:expr) => { $bounds };
}

/// The name of a key in a table; without a dot when either is empty.
#[must_use]
pub fn join(table: &str, name: &str) -> String {
    match (table, name) {
        ("", one) | (one, "") => one.to_owned(),
        (table, name) => format!("{table}.{name}"),
    }
}

fn key<T: Scalar>(name: &str, help: &'static str, shape: Shape, default: Option<String>) -> Key {
    Key {
        name: name.to_owned(),
        default,
        shape,
        secret: T::SECRET,
        help: help.trim().trim_end_matches('.'),
    }
}

impl<T: Scalar> Field for T {
    type Item = T;

    fn describe(&self, name: &str, help: &'static str, keys: &mut Vec<Key>) {
        keys.push(key::<T>(name, help, Shape::One, Some(self.show())));
    }

    fn fill(&mut self, name: &str, layers: &mut Layers, bounds: impl Fn(&T) -> Result<(), String>) {
        for (_, value) in layers.take(name, bounds).into_iter().flatten() {
            *self = value;
        }
    }
}

impl<T: Scalar> Field for Option<T> {
    type Item = T;

    fn describe(&self, name: &str, help: &'static str, keys: &mut Vec<Key>) {
        keys.push(key::<T>(name, help, Shape::One, self.as_ref().map(T::show)));
    }

    fn fill(&mut self, name: &str, layers: &mut Layers, bounds: impl Fn(&T) -> Result<(), String>) {
        for (_, value) in layers.take(name, bounds).into_iter().flatten() {
            *self = Some(value);
        }
    }
}

impl<T: Scalar> Field for Vec<T> {
    type Item = T;

    fn describe(&self, name: &str, help: &'static str, keys: &mut Vec<Key>) {
        keys.push(key::<T>(name, help, Shape::List, None));
    }

    fn fill(&mut self, name: &str, layers: &mut Layers, bounds: impl Fn(&T) -> Result<(), String>) {
        if let Some(values) = layers.take(name, bounds) {
            *self = values.into_iter().map(|(_, value)| value).collect();
        }
    }
}

impl<T: Scalar> Field for BTreeMap<String, T> {
    type Item = T;

    fn describe(&self, name: &str, help: &'static str, keys: &mut Vec<Key>) {
        keys.push(key::<T>(name, help, Shape::Map, None));
    }

    fn fill(&mut self, name: &str, layers: &mut Layers, bounds: impl Fn(&T) -> Result<(), String>) {
        if let Some(values) = layers.take(name, bounds) {
            *self = values.into_iter().collect();
        }
    }
}
