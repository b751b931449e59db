//! `dopq audit`: who changed or accessed what.

use chrono::{DateTime, Local, Utc};
use clap::Args;
use dopq_common::api::{AuditLine, AuditPage};

use super::context::Context;
use super::when;
use crate::client::AuditFilter;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::instant;
use crate::output::{Cell, Column, Table, Tone};

/// Arguments of `dopq audit`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what this user did
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this action, such as cancel or token_add
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only since then: 2h, 7d, 2026-11-30 or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<DateTime<Utc>>,
    /// At most so many lines
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

/// Prints the newest lines first.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let filter = AuditFilter {
        user: arguments.user.clone(),
        action: arguments.action.clone(),
        since: arguments.since,
    };
    let page = context
        .client()?
        .audit(&filter, arguments.limit.max(1))
        .await
        .map_err(Failure::call("read the audit log"))?;
    context.output.show(&page, table, |page| {
        page.lines.iter().map(|line| line.target.clone()).collect()
    })?;
    if page.next.is_some() {
        context.output.note("there are more; raise --limit");
    }
    Ok(exit::DONE)
}

fn table(page: &AuditPage) -> Table {
    let mut table = Table::new(&[
        Column::new("WHEN"),
        Column::text("USER").at_least(8),
        Column::text("ACTION").at_least(8),
        Column::text("ON").at_least(8),
        Column::new("RESULT"),
        Column::text("TOKEN").at_least(6).spare(),
        Column::text("FROM").spare(),
        Column::text("DETAIL").at_least(8).spare(),
    ]);
    for line in &page.lines {
        table.row([
            instant(line.at, &Local).into(),
            (&line.by).into(),
            (&line.action).into(),
            (&line.target).into(),
            result(line),
            token(line).into(),
            (&line.from).into(),
            (&line.detail).into(),
        ]);
    }
    table
}

fn result(line: &AuditLine) -> Cell {
    match line.refused.as_str() {
        "" => Cell::toned("done", Tone::Good),
        refused => Cell::toned(refused, Tone::Bad),
    }
}

fn token(line: &AuditLine) -> &str {
    match line.token_name.as_str() {
        "" => &line.token,
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_fits_80_columns_and_controls_are_escaped() {
        let line = |detail: &str, refused: &str| AuditLine {
            at: "2026-11-30T12:00:00Z".parse().unwrap(),
            by: "alexandra.von-der-mayer".to_owned(),
            action: "token_revoke".to_owned(),
            target: "1423".to_owned(),
            detail: detail.to_owned(),
            token: "0123456789ab".to_owned(),
            token_name: "laptop".to_owned(),
            from: "192.0.2.1".to_owned(),
            refused: refused.to_owned(),
        };
        let page = AuditPage {
            version: 1,
            lines: vec![line("a\n2026-11-30 root cancel", ""), line("", "forbidden")],
            next: None,
        };
        let text = table(&page).render_at_80();
        assert!(
            text.contains("done") && text.contains("forbidden"),
            "{text}"
        );
        // The heading and one line each.
        assert_eq!(text.trim_end().lines().count(), 3, "{text}");
    }
}
