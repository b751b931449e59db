//! Reads the Standard Workload Format (Feitelson's Parallel Workloads Archive): one job a line, 18 numbers,
//! comments after `;`.

use std::time::Duration;

use crate::job::Class;
use crate::resources::MilliGpu;

use super::table::TraceError;
use super::trace::TraceJob;

/// The jobs of a trace in the order of submission, with processors as GPUs. Leaves out jobs that never ran.
///
/// # Errors
/// If a line is not 18 numbers, or there is no line.
pub fn read(text: &str) -> Result<Vec<TraceJob>, TraceError> {
    let mut jobs = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split(';').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let fields = content.split_whitespace().map(|field| {
            field.parse::<f64>().map_err(|_| TraceError::BadValue {
                line,
                value: field.to_owned(),
                what: "number",
            })
        });
        let fields = fields.collect::<Result<Vec<f64>, _>>()?;
        // Fields are numbered from 1; -1 means unknown.
        let field = |number: usize| {
            fields
                .get(number - 1)
                .copied()
                .filter(|value| *value >= 0.0)
        };
        let gpus = field(5).filter(|gpus| *gpus > 0.0).or_else(|| field(8));
        let parts = field(2).zip(field(4)).zip(gpus);
        let Some(((submitted, ran), gpus)) = parts else {
            continue;
        };
        let (Ok(submitted), Ok(ran)) = (
            Duration::try_from_secs_f64(submitted),
            Duration::try_from_secs_f64(ran),
        ) else {
            continue;
        };
        jobs.push(TraceJob {
            submitted,
            ran,
            gpus: whole(gpus),
            gpu_amount: MilliGpu::WHOLE,
            user: field(12).and_then(|number| format!("user{}", whole(number)).parse().ok()),
            class: Class::Normal,
            priority: 0,
        });
    }
    // The sort is stable: jobs of the same second stay in the trace's order.
    jobs.sort_by_key(|job| job.submitted);
    if jobs.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(jobs)
}

fn whole(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that u32 holds"
    )]
    let whole = value.clamp(0.0, f64::from(u32::MAX)) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read_and_those_that_never_ran_are_not() {
        let text = "; MaxNodes: 256\n\
            2 20 -1 5 4 -1 -1 -1 -1 -1 1 7 -1 0 -1 -1 -1 -1\n\
            1 10 -1 30 -1 -1 -1 8 -1 -1 1 -1 -1 0 -1 -1 -1 -1\n\
            3 30 -1 -1 8 -1 -1 8 -1 -1 0 1 -1 0 -1 -1 -1 -1\n";
        let job = |submitted, ran, gpus, user| TraceJob {
            submitted: Duration::from_secs(submitted),
            ran: Duration::from_secs(ran),
            gpus,
            gpu_amount: MilliGpu::WHOLE,
            user,
            class: Class::Normal,
            priority: 0,
        };
        let expected = vec![job(10, 30, 8, None), job(20, 5, 4, "user7".parse().ok())];
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("; nothing\n"), Err(TraceError::Empty));
        assert!(read("1 two 3\n").is_err());
    }
}
