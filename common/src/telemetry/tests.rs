//! Any sequence of samples gives exact means and peaks, and a short series over the whole time.

use proptest::prelude::*;

use super::*;
use crate::time::Timestamp;

const fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + ms)
}

fn sample(value: u64) -> PerFigure<u64> {
    PerFigure {
        gpu_milli: value,
        gpu_memory_bytes: value << 20,
        gpu_milliwatts: 0,
        cpu_milli: value / 2,
        memory_bytes: value,
    }
}

/// Pauses before samples: mostly regular, sometimes none, sometimes days.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 1900_u64..2100,
        2 => Just(0_u64),
        2 => 1_u64..20_000,
        1 => 0_u64..10_000_000_000,
    ]
}

proptest! {
    #[test]
    fn means_and_peaks_are_exact_and_the_series_is_short_and_whole(
        samples in prop::collection::vec((pause(), 0_u64..2_000_000), 1..400),
        restart in any::<prop::sample::Index>(),
    ) {
        let mut meter = Meter::new(at(0), 1500);
        let (mut now, mut covered, mut sum, mut peak) = (0_u64, 0_u64, 0_u128, 0);
        let restart = restart.index(samples.len());
        for (place, (pause, value)) in samples.iter().enumerate() {
            if place == restart {
                // As a worker keeps it on its disk.
                let text = serde_json::to_string(&meter).expect("JSON");
                meter = serde_json::from_str(&text).expect("read");
            }
            now += pause;
            meter.add(at(now), &sample(*value), 3, Io::default());
            let span = (*pause).min(10_000);
            covered += span;
            sum += u128::from(*value) * u128::from(span);
            peak = peak.max(*value);
        }
        let Some(measured) = meter.measured(7) else {
            prop_assert_eq!(covered, 0);
            return Ok(());
        };
        let mean = u64::try_from(sum / u128::from(covered)).expect("a mean");
        prop_assert_eq!((measured.attempt, measured.span_ms, measured.covered_ms), (7, now, covered));
        prop_assert_eq!(measured.mean.memory_bytes, mean);
        prop_assert_eq!(measured.peak, sample(peak));
        prop_assert_eq!(measured.gpu_milli_seconds, u64::try_from(u128::from(now) * 15 / 10).expect("held"));
        prop_assert_eq!(measured.gpu_millijoules, 3 * u64::try_from(samples.len()).expect("few"));

        let series = measured.series.expect("a series");
        let points = &series.points.memory_bytes;
        prop_assert!(points.len() <= POINTS_MAX);
        prop_assert_eq!(points.is_empty(), peak == 0);
        prop_assert_eq!(&series.points.gpu_milliwatts, &Vec::<i16>::new());
        if peak > 0 {
            let count = u64::try_from(points.len()).expect("few");
            // The points reach to the end, and no shorter ones would.
            prop_assert!(count * series.step_ms >= now);
            prop_assert!((count - 1) * series.step_ms < now);
            prop_assert!(series.step_ms == 2000 || now > 60 * series.step_ms);
            prop_assert!(points.iter().all(|point| (-1..=1000).contains(point)));
            prop_assert!(points.last().is_some_and(|last| *last >= 0 || samples.last().is_some_and(|(pause, _)| *pause == 0)));
        }
        // It fits into a report, with room for the rest of it.
        prop_assert!(serde_json::to_vec(&series).expect("JSON").len() < 8 * 1024);
    }
}

#[test]
fn a_series_thins_by_joining_two_points() {
    let mut meter = Meter::new(at(0), 1000);
    for second in 1..=240 {
        let busy = if second <= 120 { 1000 } else { 500 };
        meter.add(at(second * 1000), &sample(busy), 0, Io::default());
    }
    let series = |meter: &Meter| meter.measured(1).and_then(|m| m.series).expect("a series");
    let before = series(&meter);
    assert_eq!((before.step_ms, before.points.gpu_milli.len()), (2000, 120));
    assert_eq!(before.points.gpu_milli[59..61], [1000, 500]);
    // Five minutes without a sample, then one that stands for 10 s.
    meter.add(at(540_000), &sample(1000), 0, Io::default());
    let after = series(&meter);
    assert_eq!((after.step_ms, after.points.gpu_milli.len()), (8000, 68));
    assert_eq!(after.points.gpu_milli[14..17], [1000, 500, 500]);
    assert_eq!(after.points.gpu_milli[30..32], [-1, -1]);
    assert_eq!(after.points.gpu_milli[66..], [1000, 1000]);
}

#[test]
fn a_clock_that_is_set_back_adds_no_time() {
    let mut meter = Meter::new(at(10_000), 0);
    meter.add(at(5_000), &sample(9), 0, Io::default());
    assert_eq!(meter.measured(1), None);
    meter.add(at(7_000), &sample(3), 0, Io::default());
    let measured = meter.measured(1).expect("time was covered");
    assert_eq!((measured.span_ms, measured.mean.memory_bytes), (2000, 3));
    assert_eq!(measured.peak.memory_bytes, 9);
}

#[test]
fn a_job_keeps_the_latest_attempts_and_one_series() {
    let measured = |attempt| Measured {
        attempt,
        series: Some(Series::default()),
        ..Measured::default()
    };
    let mut kept = Vec::new();
    for attempt in [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
        write_down(&mut kept, measured(attempt));
    }
    let attempts: Vec<u32> = kept.iter().map(|kept| kept.attempt).collect();
    assert_eq!(attempts, [3, 4, 5, 6, 7, 8, 9, 10]);
    let series = kept.iter().filter(|kept| kept.series.is_some());
    assert_eq!(series.map(|kept| kept.attempt).collect::<Vec<_>>(), [10]);
}
