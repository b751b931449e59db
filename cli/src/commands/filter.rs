//! The flags by which lists are filtered.

use clap::Args;

use crate::client::Client;
use crate::failure::Failure;

/// Whose jobs, and with which labels.
#[derive(Debug, Clone, Args)]
pub(super) struct Filter {
    /// Only your jobs
    #[arg(long, short, conflicts_with = "user")]
    mine: bool,
    /// Only jobs of this user
    #[arg(long, short)]
    user: Option<String>,
    /// Only jobs with this label, such as team=vision; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<String>,
}

impl Filter {
    /// The user whose jobs are wanted; `None` for everybody.
    pub(super) async fn user(&self, client: &Client) -> Result<Option<String>, Failure> {
        if !self.mine {
            return Ok(self.user.clone());
        }
        let me = client.whoami().await;
        let me = me.map_err(Failure::call("read your user name"))?;
        Ok(Some(me.name))
    }

    /// The labels that wanted jobs have.
    pub(super) fn labels(&self) -> &[String] {
        &self.label
    }
}

fn label(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !text.contains(',') => Ok(text.to_owned()),
        Some(_) | None => Err("write NAME=VALUE, without commas".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert!(label("team=vision").is_ok() && label("team=").is_ok());
        assert!(label("team").is_err() && label("=x").is_err() && label("a=b,c=d").is_err());
    }
}
