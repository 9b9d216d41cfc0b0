//! What the figures of a stretch of time are taken from: rollups where they can be, the sales themselves elsewhere.

use chrono::{DateTime, Utc};

use super::{
    range::Range,
    segment::{Grain, Segment},
};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The segments of one step: whole UTC days, around them whole UTC hours, and the sales of what is left at the edges.
/// In order of time, without gaps.
pub fn cover(step: i32, range: Range) -> Vec<Segment> {
    let (start, end) = (range.start().timestamp_micros(), range.end().timestamp_micros());
    let (first_hour, last_hour) = (whole(start, end, MICROS_PER_HOUR)).unwrap_or((start, start));
    let (first_day, last_day) = (whole(start, end, MICROS_PER_DAY)).unwrap_or((last_hour, last_hour));
    let pieces = [
        (Grain::Sale, start, first_hour),
        (Grain::Hour, first_hour, first_day),
        (Grain::Day, first_day, last_day),
        (Grain::Hour, last_day, last_hour),
        (Grain::Sale, last_hour, end),
    ];
    let segment =
        |(grain, start, end): (Grain, i64, i64)| Segment { step, grain, start: moment(start), end: moment(end) };
    pieces.into_iter().filter(|(_, start, end)| start < end).map(segment).collect()
}

/// One segment of a step whose figures no rollup has.
pub fn sales_of(step: i32, range: Range) -> Vec<Segment> {
    vec![Segment { step, grain: Grain::Sale, start: range.start(), end: range.end() }]
}

/// The whole units between two moments; `None` where there are none.
fn whole(start: i64, end: i64, unit: i64) -> Option<(i64, i64)> {
    let first = -(-start).div_euclid(unit) * unit;
    let last = end.div_euclid(unit) * unit;
    (first < last).then_some((first, last))
}

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).expect("between two moments of the range")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{DateTime, Grain, Range, cover};

    fn range(start: &str, end: &str) -> Range {
        Range::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    fn grains(start: &str, end: &str) -> Vec<(Grain, String)> {
        let segments = cover(7, range(start, end));
        assert!(segments.iter().all(|segment| segment.step == 7));
        segments.iter().map(|segment| (segment.grain, segment.end.format("%dT%H:%M").to_string())).collect()
    }

    fn expected(pieces: &[(Grain, &str)]) -> Vec<(Grain, String)> {
        pieces.iter().map(|&(grain, end)| (grain, end.to_owned())).collect()
    }

    #[test]
    fn a_month_in_kathmandu_is_days_hours_and_two_partial_hours() {
        let pieces = [
            (Grain::Sale, "28T19:00"),
            (Grain::Hour, "01T00:00"),
            (Grain::Day, "30T00:00"),
            (Grain::Hour, "30T18:00"),
            (Grain::Sale, "30T18:15"),
        ];
        assert_eq!(grains("2026-02-28T18:15:00Z", "2026-03-30T18:15:00Z"), expected(&pieces));
    }

    #[test]
    fn what_is_shorter_than_a_day_or_an_hour_takes_what_there_is() {
        assert_eq!(grains("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"), expected(&[(Grain::Day, "03T00:00")]));
        assert_eq!(grains("2026-03-01T22:00:00Z", "2026-03-02T03:00:00Z"), expected(&[(Grain::Hour, "02T03:00")]));
        assert_eq!(grains("2026-03-01T22:10:00Z", "2026-03-01T23:50:00Z"), expected(&[(Grain::Sale, "01T23:50")]));
        let pieces = [(Grain::Sale, "01T23:00"), (Grain::Hour, "02T00:00"), (Grain::Sale, "02T00:00")];
        assert_eq!(grains("2026-03-01T22:10:00Z", "2026-03-02T00:00:00.000001Z"), expected(&pieces));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn segments_are_in_order_whole_and_make_up_the_range(
            start in -4_000_000_000_000_000_i64..4_000_000_000_000_000,
            long in 1_i64..400_000_000_000,
            unit in proptest::sample::select(vec![1, 60_000_000, 900_000_000, 3_600_000_000, 86_400_000_000_i64]),
        ) {
            let moment = |micros| DateTime::from_timestamp_micros(micros).unwrap();
            let start = start.div_euclid(unit) * unit;
            let end = start + (long / unit).max(1) * unit;
            let segments = cover(0, Range::new(moment(start), moment(end)).unwrap());
            prop_assert_eq!(segments[0].start, moment(start));
            prop_assert_eq!(segments.last().unwrap().end, moment(end));
            prop_assert!(segments.len() <= 5);
            for pair in segments.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert!(pair[0].grain != pair[1].grain, "neighbours of one grain are one segment");
            }
            for segment in &segments {
                let (from, to) = (segment.start.timestamp_micros(), segment.end.timestamp_micros());
                prop_assert!(from < to);
                let grain = match segment.grain {
                    Grain::Day => 86_400_000_000,
                    Grain::Hour => 3_600_000_000,
                    Grain::Sale => 1,
                };
                prop_assert_eq!((from.rem_euclid(grain), to.rem_euclid(grain)), (0, 0));
                // Nothing is counted sale by sale, or hour by hour, that a greater whole has.
                let coarser = match segment.grain {
                    Grain::Day => None,
                    Grain::Hour => Some(86_400_000_000),
                    Grain::Sale => Some(3_600_000_000_i64),
                };
                if let Some(coarser) = coarser {
                    let first = -(-from).div_euclid(coarser) * coarser;
                    prop_assert!(first + coarser > to);
                }
            }
        }
    }
}
