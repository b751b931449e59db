//! Names at the engine that keep users apart: of images, of caches and of what makes a build step a user's own.
//!
//! They are made with a key of this worker, so that nobody can name what belongs to another user.

use std::collections::BTreeMap;
use std::fmt;

use dopq_common::id::{Digest, UserName};

/// Bytes of a keyed name; 128 bits cannot be guessed.
const NAME_BYTES: usize = 16;

/// The worker's secret key for names.
#[derive(Clone, PartialEq, Eq)]
pub struct NameKey([u8; 32]);

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey")
    }
}

/// What separates a user's builds from those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSpace {
    /// The name space of the user's caches and steps.
    pub user: String,
    /// Names the copy of the context that the engine keeps for the next build of the same kind.
    pub context: String,
}

impl NameKey {
    /// A key of random bytes.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The name of the image that a user's bundle becomes with these build arguments: `dopq/<user>:<32 hexadecimal
    /// digits>`.
    #[must_use]
    pub fn image(
        &self,
        user: &UserName,
        digest: Digest,
        args: &BTreeMap<String, String>,
    ) -> String {
        let digest = digest.to_string();
        let args = args.iter().flat_map(|(name, value)| [&**name, &**value]);
        let name = self.name(["image", user.as_str(), &digest].into_iter().chain(args));
        format!("dopq/{}:{name}", image_part(user))
    }

    /// The space for a user's jobs of one name.
    #[must_use]
    pub fn space(&self, user: &UserName, job: &str) -> BuildSpace {
        BuildSpace {
            user: self.name(["user", user.as_str()]),
            context: self.name(["context", user.as_str(), job]),
        }
    }

    fn name<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hex::encode(hasher.finalize().as_bytes().split_at(NAME_BYTES).0)
    }
}

/// The name that a load gives the image of a bundle's `image.tar` until it has the labels of the image `tag`.
#[must_use]
pub fn loaded_name(tag: &str) -> String {
    format!("{tag}-loaded")
}

/// The user's name as a part of an image's name. Image names allow fewer characters, so other names become their
/// allowed characters and a digest. The double underscore, which no plain name has, avoids collisions.
fn image_part(user: &UserName) -> String {
    let name = user.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = name
        .split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.chars().all(plain));
    if fits {
        return name.to_owned();
    }
    let mut spelt = String::new();
    for part in name
        .to_ascii_lowercase()
        .split(|c: char| !plain(c))
        .filter(|part| !part.is_empty())
    {
        if !spelt.is_empty() {
            spelt.push('-');
        }
        spelt.push_str(part);
    }
    let digest = Digest(*blake3::hash(name.as_bytes()).as_bytes());
    format!("{spelt}__{}", digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_image_has_anothers_name() {
        let users = [
            "anna", "Anna", "ANNA", "anna.b", "anna-b", "anna_b", "anna@b", "anna+b", "anna.",
            "anna-", "a__b", "a--b", "A@+B", "a--b.c", "0",
        ];
        let key = NameKey::new([7; 32]);
        let tags: std::collections::BTreeSet<String> = users
            .iter()
            .map(|user| {
                key.image(
                    &user.parse().expect("a name"),
                    Digest([0xcd; 32]),
                    &BTreeMap::new(),
                )
            })
            .collect();
        let repositories: std::collections::BTreeSet<&str> = tags
            .iter()
            .filter_map(|tag| Some(tag.split_once(':')?.0))
            .collect();
        assert_eq!(repositories.len(), users.len(), "{tags:?}");
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        for tag in &tags {
            let (repository, version) = tag.split_once(':').expect("a tag");
            assert_eq!(version.len(), 32);
            let user = repository.strip_prefix("dopq/").expect("ours");
            // The engine's own rule for a component of a name.
            assert!(user.starts_with(lower) && user.ends_with(lower), "{user}");
            assert!(
                user.chars().all(|c| lower(c) || "._-".contains(c)),
                "{user}"
            );
            assert!(
                !user.contains("..") && !user.contains("___") && !user.contains("._"),
                "{user}"
            );
        }
    }

    #[test]
    fn names_differ_by_key_user_job_and_digest() {
        let (anna, bob) = (
            &"anna".parse().expect("a name"),
            &"bob".parse().expect("a name"),
        );
        let (key, other) = (NameKey::new([1; 32]), NameKey::new([2; 32]));
        let (none, one, two) = (BTreeMap::new(), Digest([1; 32]), Digest([2; 32]));
        let args = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        let image = key.image(anna, one, &none);
        assert_eq!(image, key.image(anna, one, &none));
        assert_ne!(image, key.image(anna, two, &none));
        assert_ne!(image, key.image(anna, one, &args));
        assert_ne!(image, other.image(anna, one, &none));
        let space = key.space(anna, "a");
        assert_eq!(space.user, key.space(anna, "b").user);
        assert_ne!(space.context, key.space(anna, "b").context);
        assert_ne!(space.user, key.space(bob, "a").user);
        assert_ne!(space.context, key.space(bob, "a").context);
        assert_ne!(space, other.space(anna, "a"));
    }
}
