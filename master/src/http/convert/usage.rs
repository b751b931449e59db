//! Receipts: the newest lines, and the sum of the others.

use dopq_common::api::{self, API_VERSION};
use dopq_common::id::UserName;
use dopq_common::sched::{self, Course, Line, Receipt, Turns};
use dopq_common::settings::Scalar as _;
use dopq_common::time::Timestamp;

use crate::view::Model;

use super::user::turn;

/// A user's receipt with at most `limit` lines.
pub(in crate::http) fn usage(
    model: &Model,
    now: Timestamp,
    name: &UserName,
    limit: usize,
) -> api::Usage {
    let receipt = sched::receipt(&model.state, now, name);
    let shown = receipt.lines.get(..limit).unwrap_or(&receipt.lines);
    let rest = receipt.lines.get(limit..).unwrap_or_default();
    let Receipt { account, .. } = &receipt;
    api::Usage {
        version: API_VERSION,
        user: name.to_string(),
        at: now.to_datetime(),
        policy: receipt.policy.show(),
        penalty: account.penalty,
        weight: account.weight,
        turn: Turns::new(&model.state, now).of(name).as_ref().map(turn),
        usage_gpu_seconds: account.usage,
        charged_gpus: account.rate,
        capacity_gpus: account.capacity,
        half_life_seconds: receipt.half_life.as_secs_f64(),
        min_charge_seconds: receipt.min_charge.as_secs_f64(),
        tenth_in_seconds: account.tenth_in.as_secs_f64(),
        lines: shown.iter().map(|shown| line(model, shown)).collect(),
        more: (!rest.is_empty()).then(|| sum(rest)),
        earlier_gpu_seconds: receipt.earlier,
    }
}

fn line(model: &Model, line: &Line) -> api::UsageLine {
    let (to, end, deposit) = match line.course {
        Course::Held { deposit } => (None, "held", deposit),
        Course::Ended { to, end } => (Some(to.to_datetime()), end.as_str(), 0.0),
    };
    let job = model.state.job(line.job);
    api::UsageLine {
        job: line.job.0,
        name: job.map_or_else(String::new, |job| job.spec.name.clone()),
        attempt: line.attempt,
        gpus: line.rate.gpus(),
        from: line.from.to_datetime(),
        to,
        end: end.to_owned(),
        charged_gpu_seconds: line.charged,
        refunded_gpu_seconds: line.refunded(),
        deposit_gpu_seconds: deposit,
        left_gpu_seconds: line.left,
    }
}

fn sum(lines: &[Line]) -> api::UsageSum {
    api::UsageSum {
        lines: u64::try_from(lines.len()).unwrap_or(u64::MAX),
        charged_gpu_seconds: lines.iter().map(|line| line.charged).sum(),
        refunded_gpu_seconds: lines.iter().map(Line::refunded).sum(),
        left_gpu_seconds: lines.iter().map(|line| line.left).sum(),
    }
}
