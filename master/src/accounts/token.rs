//! Tokens: 256 random bits that are shown once and kept only as their BLAKE3 hash.
//!
//! The hash needs no salt and no stretching, because what it hides is as random as it is itself.

use std::collections::BTreeMap;
use std::time::Duration;

use dopq_common::api::Role;
use dopq_common::id::UserName;
use dopq_common::secret::Secret;
use dopq_common::time::Timestamp;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::store::{Account, TokenRecord};

/// What every token begins with, so that leaked ones can be searched for.
const PREFIX: &str = "dopq_";
/// Longer ones are no token; hashing them would only cost time.
const TOKEN_MAX_BYTES: usize = 256;
/// Random bytes of a token's id.
const ID_BYTES: usize = 6;

/// How lists and the audit log name a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub label: String,
}

/// What a presented token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identified {
    /// It is this account's.
    As {
        /// Whose.
        name: UserName,
        /// What they may do.
        role: Role,
        /// Which token it is.
        token: TokenName,
    },
    /// It was somebody's and has ended.
    Expired,
    /// It is of an account that is disabled.
    Disabled,
    /// It is nobody's.
    Unknown,
}

/// Makes a token; the record is what is stored of it.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn mint(
    now: Timestamp,
    label: &str,
    lasts: Option<Duration>,
) -> Result<(Secret, TokenRecord), getrandom::Error> {
    let (mut secret, mut id) = ([0; 32], [0; ID_BYTES]);
    getrandom::fill(&mut secret)?;
    getrandom::fill(&mut id)?;
    let secret = Secret::from(format!("{PREFIX}{}", hex::encode(secret)));
    let record = TokenRecord {
        id: hex::encode(id),
        label: label.to_owned(),
        hash: hash(secret.reveal()),
        created_at: now,
        expires_at: lasts.map(|lasts| now.after(lasts)),
        by_login: false,
    };
    Ok((secret, record))
}

/// An administrator's account with its first token, for a cluster that has no account yet.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn first_admin(name: UserName, now: Timestamp) -> Result<(Secret, Account), getrandom::Error> {
    let (secret, record) = mint(now, "first start", None)?;
    let account = Account {
        tokens: vec![record],
        ..Account::new(name, Role::Admin)
    };
    Ok((secret, account))
}

/// Says whose `presented` is.
///
/// Every stored hash is compared in constant time and none is skipped, so that the time taken tells
/// nothing of where or how nearly one fits.
#[must_use]
pub fn identify(
    accounts: &BTreeMap<UserName, Account>,
    presented: &str,
    now: Timestamp,
) -> Identified {
    if presented.len() > TOKEN_MAX_BYTES {
        return Identified::Unknown;
    }
    let presented = hash(presented);
    let tokens = accounts
        .values()
        .flat_map(|account| account.tokens.iter().map(move |token| (account, token)));
    let (mut found, mut at) = (Choice::from(0), 0u64);
    for (index, (_, token)) in (0u64..).zip(tokens.clone()) {
        let fits = token.hash.as_bytes().ct_eq(presented.as_bytes());
        at.conditional_assign(&index, fits);
        found |= fits;
    }
    if !bool::from(found) {
        return Identified::Unknown;
    }
    let place = usize::try_from(at).unwrap_or(usize::MAX);
    match tokens.clone().nth(place) {
        Some((_, token)) if token.expires_at.is_some_and(|end| end <= now) => Identified::Expired,
        Some((account, _)) if account.disabled_at.is_some() => Identified::Disabled,
        Some((account, token)) => Identified::As {
            name: account.name.clone(),
            role: account.role,
            token: TokenName {
                id: token.id.clone(),
                label: token.label.clone(),
            },
        },
        None => Identified::Unknown,
    }
}

fn hash(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_token_proves_its_owner_until_it_ends() {
        let name = |text: &str| text.parse::<UserName>().expect("name");
        let (admin, mut root) = first_admin(name("root"), at(1)).expect("random");
        let (short, record) = mint(at(1), "laptop", Some(Duration::from_secs(1))).expect("random");
        root.tokens.push(record);
        let (other, record) = mint(at(1), "", None).expect("random");
        let anna = Account {
            tokens: vec![record],
            ..Account::new(name("anna"), Role::User)
        };
        let accounts = BTreeMap::from([(anna.name.clone(), anna), (root.name.clone(), root)]);
        let who = |token: &str, now| identify(&accounts, token, at(now));
        let known = |who: &str, role, number: usize| {
            let token = &accounts[&name(who)].tokens[number];
            Identified::As {
                name: name(who),
                role,
                token: TokenName {
                    id: token.id.clone(),
                    label: token.label.clone(),
                },
            }
        };
        assert_eq!(who(admin.reveal(), 5), known("root", Role::Admin, 0));
        assert_eq!(who(other.reveal(), 5), known("anna", Role::User, 0));
        assert_eq!(who(short.reveal(), 1000), known("root", Role::Admin, 1));
        assert_eq!(who(short.reveal(), 1001), Identified::Expired);
        let mut closed = accounts.clone();
        closed.get_mut(&name("anna")).expect("anna").disabled_at = Some(at(4));
        let who_is = identify(&closed, other.reveal(), at(5));
        assert_eq!(who_is, Identified::Disabled);
        let long = format!("{}x", admin.reveal());
        for wrong in ["", "dopq_", long.as_str(), &"x".repeat(10_000)] {
            assert_eq!(who(wrong, 5), Identified::Unknown, "{wrong}");
        }
    }

    #[test]
    fn tokens_are_long_random_and_never_shown() {
        let (one, record) = mint(at(1), "", None).expect("random");
        let (two, _) = mint(at(1), "", None).expect("random");
        assert_ne!(one.reveal(), two.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 64);
        assert!(!format!("{one:?}").contains(one.reveal()));
        assert!(!format!("{record:?}").contains(one.reveal()));
    }
}
