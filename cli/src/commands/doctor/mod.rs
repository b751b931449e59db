//! `dopq doctor`: checks each part from here to the GPUs, and says what to do. What is well is decided in [`mod@judge`].

mod judge;

use std::error::Error as StdError;

use dopq_common::api::Role;
use dopq_common::chain::chain;
use serde::Serialize;

use self::judge::{Facts, Finding, Level, judge};
use super::context::Context;
use crate::client::{Client, Error};
use crate::config;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::count;
use crate::output::{Cell, Column, Table, Tone};

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    findings: Vec<Finding>,
}

/// Asks everybody, judges, and shows. The exit code is 1 if something fails, 0 with warnings.
pub(crate) async fn run(context: &Context) -> Result<u8, Failure> {
    let facts = ask(context).await?;
    let findings = judge(&facts, context.now());
    let number = |level| findings.iter().filter(|found| found.level == level).count() as u64;
    let (failures, warnings) = (number(Level::Fail), number(Level::Warn));
    let report = Report {
        ok: failures == 0,
        findings,
    };
    context.output.show(&report, table, names)?;
    let summary = match (failures, warnings) {
        (0, 0) => "all is well".to_owned(),
        (failures, warnings) => format!(
            "{}, {}",
            count(failures, "failure", "failures"),
            count(warnings, "warning", "warnings")
        ),
    };
    context.output.note(&summary);
    Ok(if failures == 0 {
        exit::DONE
    } else {
        exit::FAILED
    })
}

/// Asks as far as it gets: without a master there is nothing behind it.
async fn ask(context: &Context) -> Result<Facts, Failure> {
    let settings =
        config::resolve(context.flags(), &context.environment).map_err(Failure::Configuration)?;
    let client =
        Client::new(&settings, context.output).map_err(Failure::call("set up the connection"))?;
    let mut facts = Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: settings.warnings.clone(),
        master: format!("{} (from {})", client.url(), settings.named_by()),
        ..Facts::default()
    };
    let probe = client.probe().await;
    facts.clocks = probe.date.map(|date| (context.now(), date));
    facts.certificate = probe.certificate;
    match probe.status {
        Ok(status) => facts.status = Some(Ok(status)),
        // It answers, but not without a token that it knows.
        Err(error) if error.exit_code() == exit::NOT_ALLOWED => {
            facts.user = Some(Err(told(&error, "run: dopq login")));
            return Ok(facts);
        }
        Err(error) => {
            facts.status = Some(Err(told(&error, "")));
            return Ok(facts);
        }
    }
    facts.user = Some(match client.whoami().await {
        Ok(me) => Ok(format!("{}, {}", me.name, role(me.role))),
        Err(error) => Err(told(&error, "run: dopq login")),
    });
    facts.nodes = client.nodes().await.ok().map(|list| list.nodes);
    facts.doctor = client.doctor().await.ok();
    Ok(facts)
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

/// Why, and what to do.
fn told(error: &Error, otherwise: &str) -> (String, String) {
    let source: &dyn StdError = error;
    let advice = error.hint().unwrap_or_else(|| otherwise.to_owned());
    (chain(source), advice)
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(&[
        Column::new("RESULT"),
        Column::new("CHECK"),
        Column::text("FOUND").at_least(20),
        Column::text("WHAT TO DO").at_least(20),
    ])
    .wrapping();
    for found in &report.findings {
        let result = match found.level {
            Level::Ok => Cell::toned("ok", Tone::Good),
            Level::Warn => Cell::toned("warn", Tone::Waiting),
            Level::Fail => Cell::toned("FAIL", Tone::Bad),
        };
        table.row([
            result,
            (&found.check).into(),
            (&found.detail).into(),
            (&found.advice).into(),
        ]);
    }
    table
}

/// The checks that did not end well.
fn names(report: &Report) -> Vec<String> {
    let found = report.findings.iter();
    found
        .filter(|found| found.level != Level::Ok)
        .map(|found| found.check.clone())
        .collect()
}
