//! `dopq usage`: a user's charges by attempt, and what is left of them.

use std::time::Duration;

use chrono::{Local, TimeDelta, TimeZone};
use clap::Args;
use dopq_common::api::{Turn, Usage, UsageLine};

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{between, count, duration, gpu_hours, gpus, instant};
use crate::output::{Cell, Column, Format, Table, Tone};

/// Arguments of `dopq usage`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// User [default: you]
    user: Option<String>,
    /// List at most this many attempts, up to 1000; older ones are summed
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER", value_parser = limit)]
    limit: usize,
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=1000).contains(&limit) => Ok(limit),
        Ok(_) | Err(_) => Err("it must be a number from 1 to 1000".to_owned()),
    }
}

/// Shows the receipt.
pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let client = context.client()?;
    let user = match &arguments.user {
        Some(user) => user.clone(),
        None => {
            let me = client.whoami().await;
            me.map_err(Failure::call("read your user name"))?.name
        }
    };
    let usage = client
        .usage(&user, arguments.limit)
        .await
        .map_err(Failure::call(format!("read the usage of {user}")))?;
    match context.output.format {
        Format::Json => context.output.json(&usage)?,
        Format::Quiet => {
            let seconds = format!("{:.3}", usage.usage_gpu_seconds);
            context.output.line(&seconds)?;
        }
        Format::Table => {
            context.output.table(&facts(&usage))?;
            context.output.line("")?;
            context.output.table(&lines(&usage, &Local))?;
        }
    }
    Ok(exit::DONE)
}

/// The sum and what follows from it.
fn facts(usage: &Usage) -> Table {
    let mut table = Table::new(&[Column::new("FIELD"), Column::text("VALUE")])
        .untitled()
        .wrapping();
    table.row(["User".into(), (&usage.user).into()]);
    let used = format!("{} weighted GPU-hours", gpu_hours(usage.usage_gpu_seconds));
    table.row(["Usage now".into(), used.into()]);
    let penalty = match usage.policy.as_str() {
        "usage" => format!(
            "{:.4} (1 = the whole cluster all the time), weight {}",
            usage.penalty, usage.weight
        ),
        policy => format!(
            "{:.4} (policy {policy}, which ignores usage)",
            usage.penalty
        ),
    };
    table.row(["Penalty".into(), penalty.into()]);
    for (what, value) in rank(usage) {
        table.row([what.into(), value.into()]);
    }
    let charged = format!(
        "{} of {} weighted GPUs",
        gpus(usage.charged_gpus),
        gpus(usage.capacity_gpus)
    );
    table.row(["Charged now".into(), charged.into()]);
    table.row(["Half-life".into(), time(usage.half_life_seconds).into()]);
    if usage.usage_gpu_seconds > 0.0 {
        let tenth = time(usage.tenth_in_seconds);
        let tenth = if usage.charged_gpus > 0.0 {
            format!("{tenth} after your running jobs end")
        } else {
            format!("in {tenth}")
        };
        table.row(["Down to a tenth".into(), tenth.into()]);
    }
    table
}

/// The user's rank and its parts.
fn rank(usage: &Usage) -> Vec<(&'static str, String)> {
    let Some(turn) = &usage.turn else {
        return vec![("Next job", "none queued".to_owned())];
    };
    let Turn { ask, aging, .. } = turn;
    let sum = |value: f64, penalty: f64| {
        format!(
            "{value:.6} = penalty {penalty:.6} + request {ask:.6} - waiting {aging:.6}; lowest starts first"
        )
    };
    let floor = if turn.within_floor {
        ", within a floor, starts first"
    } else {
        ""
    };
    let mut rows = vec![
        (
            "Next job",
            format!("{}, class {}{floor}", turn.job, turn.class),
        ),
        ("Rank", sum(turn.rank_value, usage.penalty)),
    ];
    let group = turn.group.as_ref();
    rows.extend(group.map(|group| ("Group's rank", sum(group.rank_value, group.penalty))));
    rows
}

fn time(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The attempts, newest first, and their total.
fn lines<Z: TimeZone>(usage: &Usage, zone: &Z) -> Table
where
    Z::Offset: std::fmt::Display,
{
    let mut table = Table::new(&[
        Column::number("JOB"),
        Column::number("TRY"),
        Column::text("NAME"),
        Column::number("GPUS"),
        Column::number("HELD").spare(),
        Column::number("GPU-H"),
        Column::number("REFUNDED"),
        Column::number("LEFT"),
        Column::text("NOTE").spare(),
        Column::new("STARTED").spare(),
    ]);
    for line in &usage.lines {
        table.row([
            line.job.to_string().into(),
            line.attempt.to_string().into(),
            (&line.name).into(),
            gpus(line.gpus).into(),
            between(line.from, line.to.unwrap_or(usage.at)).into(),
            gpu_hours(line.charged_gpu_seconds).into(),
            gpu_hours(line.refunded_gpu_seconds).into(),
            gpu_hours(line.left_gpu_seconds).into(),
            note(line, usage),
            instant(line.from, zone).into(),
        ]);
    }
    let mut sum = |name: &str, charged: Option<f64>, refunded: Option<f64>, left: f64| {
        let hours = |seconds: Option<f64>| Cell::from(seconds.map_or_else(String::new, gpu_hours));
        let empty = || Cell::from("");
        table.row([
            empty(),
            empty(),
            name.into(),
            empty(),
            empty(),
            hours(charged),
            hours(refunded),
            hours(Some(left)),
            empty(),
            empty(),
        ]);
    };
    let more = usage.more.as_ref();
    if let Some(more) = more {
        sum(
            &count(more.lines, "older attempt", "older attempts"),
            Some(more.charged_gpu_seconds),
            Some(more.refunded_gpu_seconds),
            more.left_gpu_seconds,
        );
    }
    if usage.earlier_gpu_seconds.abs() > 0.0 {
        sum("earlier", None, None, usage.earlier_gpu_seconds);
    }
    let charged = usage.lines.iter().map(|line| line.charged_gpu_seconds);
    let refunded = usage.lines.iter().map(|line| line.refunded_gpu_seconds);
    let charged = charged.sum::<f64>() + more.map_or(0.0, |more| more.charged_gpu_seconds);
    let refunded = refunded.sum::<f64>() + more.map_or(0.0, |more| more.refunded_gpu_seconds);
    sum(
        "total",
        Some(charged),
        Some(refunded),
        usage.usage_gpu_seconds,
    );
    table
}

/// What is special about the charge of an attempt.
fn note(line: &UsageLine, usage: &Usage) -> Cell {
    let minimum = TimeDelta::from_std(
        Duration::try_from_secs_f64(usage.min_charge_seconds).unwrap_or(Duration::MAX),
    );
    match (line.end.as_str(), line.to) {
        ("held", _) => {
            let deposit = gpu_hours(line.deposit_gpu_seconds);
            Cell::toned(&format!("running, deposit {deposit}"), Tone::Busy)
        }
        ("refunded", _) => Cell::toned("refunded", Tone::Good),
        ("at_least_minimum", Some(to)) if minimum.is_ok_and(|least| to - line.from < least) => {
            Cell::from(format!("minimum {}", time(usage.min_charge_seconds)))
        }
        ("at_least_minimum" | "as_held", _) => "".into(),
        // From a newer master.
        (other, _) => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use dopq_common::api::GroupTurn;

    use super::*;
    use crate::output::Screen;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn line(job: u64, end: &str, from: i64, to: Option<i64>, amounts: [f64; 4]) -> UsageLine {
        let [charged, refunded, deposit, left] = amounts;
        UsageLine {
            job,
            name: "train".to_owned(),
            attempt: 1,
            gpus: 2.0,
            from: at(from),
            to: to.map(at),
            end: end.to_owned(),
            charged_gpu_seconds: charged,
            refunded_gpu_seconds: refunded,
            deposit_gpu_seconds: deposit,
            left_gpu_seconds: left,
        }
    }

    fn usage() -> Usage {
        Usage {
            version: 1,
            user: "anna".to_owned(),
            at: at(90_000),
            policy: "usage".to_owned(),
            penalty: 0.123_45,
            weight: 1.0,
            turn: Some(Turn {
                job: 12,
                class: "normal".to_owned(),
                within_floor: false,
                rank_value: 0.123_491_667,
                ask: 0.000_125,
                aging: 0.000_083_333,
                group: None,
            }),
            usage_gpu_seconds: 10_920.0,
            charged_gpus: 2.0,
            capacity_gpus: 8.0,
            half_life_seconds: 86_400.0,
            min_charge_seconds: 60.0,
            tenth_in_seconds: 287_014.6,
            lines: vec![
                line(9, "held", 86_400, None, [7_200.0, 0.0, 120.0, 7_300.0]),
                line(
                    8,
                    "refunded",
                    80_000,
                    Some(80_900),
                    [1_800.0, 1_800.0, 0.0, 0.0],
                ),
                line(
                    7,
                    "as_held",
                    3_600,
                    Some(5_400),
                    [3_600.0, 0.0, 0.0, 1_820.0],
                ),
                line(6, "at_least_minimum", 60, Some(70), [120.0, 0.0, 0.0, 60.0]),
            ],
            more: None,
            earlier_gpu_seconds: 1_740.0,
        }
    }

    const PIPE: Screen = Screen {
        terminal: false,
        width: None,
        colour: false,
    };

    #[test]
    fn a_receipt_reads_well() {
        let usage = usage();
        let text = format!(
            "{}\n{}",
            facts(&usage).render(&PIPE),
            lines(&usage, &Utc).render(&PIPE)
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_receipt_fits_80_columns() {
        let mut usage = usage();
        for line in &mut usage.lines {
            line.job = 1_234_567;
            line.name = "llama-70b-instruct-finetune-with-lora".to_owned();
            line.charged_gpu_seconds = 12_345_678.9;
        }
        facts(&usage).render_at_80();
        let text = lines(&usage, &Utc).render_at_80();
        for part in ["1234567", "llama-70", "3429.355", "HELD"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn what_ranks_a_user_is_told_part_by_part() {
        let mut usage = usage();
        let turn = usage.turn.as_mut().expect("a turn");
        turn.within_floor = true;
        turn.group = Some(GroupTurn {
            penalty: 0.5,
            rank_value: 0.500_041_667,
        });
        insta::assert_snapshot!(facts(&usage).render(&PIPE));
        usage.turn = None;
        let text = facts(&usage).render(&PIPE);
        assert!(text.contains("none queued"), "{text}");
        assert!(!text.contains("Rank"), "{text}");
    }

    #[test]
    fn idle_users_are_told_when_it_is_over_and_others_what_ranks_them() {
        let mut usage = Usage {
            charged_gpus: 0.0,
            ..usage()
        };
        let text = facts(&usage).render(&PIPE);
        assert!(text.contains("Down to a tenth  in 3d07h"), "{text}");
        usage.policy = "recency".to_owned();
        usage.usage_gpu_seconds = 0.0;
        let text = facts(&usage).render(&PIPE);
        assert!(
            text.contains("policy recency") && !text.contains("tenth"),
            "{text}"
        );
    }
}
