//! Passwords, which are kept only as Argon2id hashes.
//!
//! A hash takes 19 MiB and some 20 ms on purpose; how many are computed at once is left to the caller.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use dopq_common::secret::Secret;

const SALT_BYTES: usize = 16;

/// Why no hash was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system gives no random bytes.
    #[error("there are no random numbers")]
    Random(#[from] getrandom::Error),
    /// The password cannot be hashed.
    #[error("the password cannot be hashed")]
    Hash(#[from] argon2::password_hash::Error),
}

/// What is compared when there is no password, so that the time taken tells nothing.
static NOBODYS: LazyLock<Option<Secret>> = LazyLock::new(|| hash(&Secret::from("nobody")).ok());

/// The hash of a password, with its salt and parameters, as a PHC string.
///
/// # Errors
/// [`Error`].
pub fn hash(password: &Secret) -> Result<Secret, Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt)?;
    let password = password.reveal().as_bytes();
    let hash: PasswordHash = Argon2::default().hash_password_with_salt(password, &salt)?;
    Ok(Secret::from(hash.to_string()))
}

/// Whether `hash` is that of `presented`. Takes as long when there is none.
#[must_use]
pub fn matches(hash: Option<&Secret>, presented: &Secret) -> bool {
    let is_there = hash.is_some();
    let Some(hash) = hash.or(NOBODYS.as_ref()) else {
        return false;
    };
    let Ok(hash) = PasswordHash::new(hash.reveal()) else {
        return false;
    };
    let presented = presented.reveal().as_bytes();
    let fits = Argon2::default().verify_password(presented, &hash).is_ok();
    fits && is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_hash_only() {
        let password = Secret::from("correct horse");
        let (one, other) = (
            hash(&password).expect("a hash"),
            hash(&password).expect("a hash"),
        );
        assert!(one.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(one.reveal(), other.reveal(), "salted");
        assert!(matches(Some(&one), &password) && matches(Some(&other), &password));
        assert!(!matches(Some(&one), &Secret::from("correct horsf")));
        assert!(!matches(Some(&Secret::from("damaged")), &password));
        assert!(
            !matches(None, &Secret::from("nobody")),
            "nobody has a password"
        );
        assert!(!format!("{one:?}").contains("argon2id"));
    }
}
