//! Accounts: passwords, tokens, roles.
