//! Ranges cut into steps of local clocks and calendars.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, TimeDelta, Timelike as _, Utc};

use super::{
    fault::Fault,
    limits::MAX_STEPS,
    range::{LocalRange, Range},
    zone::Zone,
};

const HOUR: TimeDelta = TimeDelta::hours(1);
/// Hours of a week: the steps of [`hours_of_week`].
pub const HOURS_OF_WEEK: i32 = 7 * 24;

/// How long a step is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Granularity {
    /// A full hour of the clock. One that clocks repeat is two; where they move by half an hour, it is shorter.
    Hour,
    /// A day of the calendar. One that is skipped is none.
    Day,
    /// A week that begins on Monday.
    Week,
    /// A month of the calendar.
    Month,
}

/// One step of a range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Where it begins, which may be before the range.
    pub start: DateTime<Utc>,
    /// What of it lies in the range.
    pub range: Range,
}

/// The steps that a range touches, in order, without gaps. Refuses a range of more than [`MAX_STEPS`].
pub fn steps(asked: &LocalRange, granularity: Granularity) -> Result<Vec<Step>, Fault> {
    let LocalRange { range, zone } = asked;
    let mut steps = Vec::new();
    let mut start = granularity.start(zone, range.start());
    while start < range.end() {
        let end = granularity.next(zone, start);
        let whole = Range::new(start, end)?;
        // Where clocks went back over midnight, the first moments of a day may lie before the last of the day before.
        if let Some(range) = whole.intersection(*range) {
            steps.push(Step { start, range });
        }
        if steps.len() > MAX_STEPS {
            return Err(Fault::TooManyPoints { max: MAX_STEPS });
        }
        start = end;
    }
    Ok(steps)
}

/// The hours that a range touches, each with its place in the week: Monday, 0 o'clock, is 0. Refuses a range of more than
/// [`MAX_STEPS`].
pub fn hours_of_week(asked: &LocalRange) -> Result<Vec<(i32, Range)>, Fault> {
    let steps = steps(asked, Granularity::Hour)?.into_iter();
    let place = |step: Step| {
        let local = asked.zone.local(step.start);
        let hour = local.weekday().num_days_from_monday() * 24 + local.hour();
        (i32::try_from(hour).expect("a week has 168 hours"), step.range)
    };
    Ok(steps.map(place).collect())
}

impl Granularity {
    /// Where the step begins that a moment lies in.
    fn start(self, zone: &Zone, moment: DateTime<Utc>) -> DateTime<Utc> {
        match self.first_day(zone.local(moment).date()) {
            Some(first) => zone.start_of_day(first),
            None => {
                let full = moment - into_hour(zone, moment);
                zone.last_change(moment).map_or(full, |change| full.max(change))
            }
        }
    }

    /// Where the step ends that begins here: always later.
    fn next(self, zone: &Zone, start: DateTime<Utc>) -> DateTime<Utc> {
        let today = zone.local(start).date();
        let next = match self {
            Self::Hour => {
                let full = start + HOUR - into_hour(zone, start);
                if zone.offset(full) == zone.offset(start) {
                    return full;
                }
                return zone.next_change(start).map_or(full, |change| full.min(change));
            }
            Self::Day => today.checked_add_days(Days::new(1)),
            Self::Week => monday(today).checked_add_days(Days::new(7)),
            Self::Month => first_of_month(today).checked_add_months(Months::new(1)),
        };
        zone.start_of_day(next.expect("questions are about years 1 to 9998"))
    }

    /// The day that the step of this day begins with; hours have none.
    fn first_day(self, date: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Hour => None,
            Self::Day => Some(date),
            Self::Week => Some(monday(date)),
            Self::Month => Some(first_of_month(date)),
        }
    }
}

/// What local clocks show beyond the full hour.
fn into_hour(zone: &Zone, moment: DateTime<Utc>) -> TimeDelta {
    let time = zone.local(moment).time();
    TimeDelta::seconds((time.num_seconds_from_midnight() % 3_600).into())
        + TimeDelta::nanoseconds(time.nanosecond().into())
}

fn monday(date: NaiveDate) -> NaiveDate {
    date - Days::new(date.weekday().num_days_from_monday().into())
}

fn first_of_month(date: NaiveDate) -> NaiveDate {
    date.with_day(1).expect("each month has a first day")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::{DateTime, Fault, Granularity, LocalRange, Range, TimeDelta, Utc, Zone, hours_of_week, steps};

    fn local(start: &str, end: &str, zone: &str) -> LocalRange {
        let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        LocalRange { range: Range::new(moment(start), moment(end)).unwrap(), zone: Zone::find(zone).unwrap() }
    }

    /// Where steps begin, as days and hours of UTC.
    fn starts(asked: &LocalRange, granularity: Granularity) -> Vec<String> {
        let steps = steps(asked, granularity).unwrap();
        steps.iter().map(|step| step.start.format("%m-%dT%H:%M").to_string()).collect()
    }

    #[test]
    fn days_begin_at_local_midnight() {
        let kathmandu = local("2026-03-01T00:00:00Z", "2026-03-02T18:15:00Z", "Asia/Kathmandu");
        assert_eq!(starts(&kathmandu, Granularity::Day), ["02-28T18:15", "03-01T18:15"]);
        let skipped = local("2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z", "Pacific/Apia");
        assert_eq!(starts(&skipped, Granularity::Day), ["12-29T10:00", "12-30T10:00"]);
        let late = local("2018-11-03T12:00:00Z", "2018-11-05T02:00:00Z", "America/Sao_Paulo");
        assert_eq!(starts(&late, Granularity::Day), ["11-03T03:00", "11-04T03:00"]);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_their_first() {
        let berlin = local("2026-03-01T12:00:00Z", "2026-04-01T00:00:00Z", "Europe/Berlin");
        let mondays = ["02-22T23:00", "03-01T23:00", "03-08T23:00", "03-15T23:00", "03-22T23:00", "03-29T22:00"];
        assert_eq!(starts(&berlin, Granularity::Week), mondays);
        assert_eq!(starts(&berlin, Granularity::Month), ["02-28T23:00", "03-31T22:00"]);
    }

    #[test]
    fn hours_are_those_of_the_local_clock() {
        let kolkata = local("2026-03-01T00:00:00Z", "2026-03-01T01:30:00Z", "Asia/Kolkata");
        assert_eq!(starts(&kolkata, Granularity::Hour), ["02-28T23:30", "03-01T00:30"]);
        let repeated = local("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "Europe/Berlin");
        assert_eq!(starts(&repeated, Granularity::Hour), ["10-25T00:00", "10-25T01:00"]);
        assert_eq!(hours_of_week(&repeated).unwrap().iter().map(|hour| hour.0).collect::<Vec<_>>(), [146, 146]);
    }

    #[test]
    fn where_clocks_move_by_half_an_hour_an_hour_is_shorter() {
        // From 02:00 back to 01:30, and from 02:00 on to 02:30.
        let autumn = local("2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z", "Australia/Lord_Howe");
        assert_eq!(starts(&autumn, Granularity::Hour), ["04-04T14:00", "04-04T15:00", "04-04T15:30"]);
        let inside = local("2026-04-04T15:10:00Z", "2026-04-04T15:20:00Z", "Australia/Lord_Howe");
        assert_eq!(starts(&inside, Granularity::Hour), ["04-04T15:00"]);
        let spring = local("2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z", "Australia/Lord_Howe");
        assert_eq!(starts(&spring, Granularity::Hour), ["10-03T14:30", "10-03T15:30", "10-03T16:00"]);
    }

    #[test]
    fn where_clocks_move_in_the_middle_of_an_hour_it_ends_there() {
        // From 00:01 back to 23:01 of the day before, which then has its last hour twice.
        let midnight = local("2010-11-07T02:00:00Z", "2010-11-07T04:00:00Z", "America/St_Johns");
        assert_eq!(starts(&midnight, Granularity::Hour), ["11-07T01:30", "11-07T02:30", "11-07T02:31", "11-07T03:30"]);
        assert_eq!(starts(&midnight, Granularity::Day), ["11-06T02:30", "11-07T02:30"]);
    }

    #[test]
    fn a_range_has_no_more_steps_than_the_limit() {
        let hours = |hours| LocalRange {
            range: Range::new(DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::hours(hours)).unwrap(),
            zone: Zone::UTC,
        };
        assert_eq!(steps(&hours(9_000), Granularity::Hour).unwrap().len(), 9_000);
        assert_eq!(steps(&hours(9_001), Granularity::Hour), Err(Fault::TooManyPoints { max: 9_000 }));
        assert_eq!(hours_of_week(&hours(9_001)).map(drop), Err(Fault::TooManyPoints { max: 9_000 }));
    }

    fn zone() -> impl Strategy<Value = Zone> {
        let names = [
            "UTC",
            "Europe/Berlin",
            "America/Sao_Paulo",
            "Asia/Kolkata",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "America/St_Johns",
            "America/Havana",
            "Africa/Casablanca",
            "Asia/Pyongyang",
        ];
        proptest::sample::select(names.to_vec()).prop_map(|name| Zone::find(name).unwrap())
    }

    fn granularity() -> impl Strategy<Value = Granularity> {
        prop_oneof![Just(Granularity::Hour), Just(Granularity::Day), Just(Granularity::Week), Just(Granularity::Month)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn steps_are_in_order_without_gaps_and_make_up_the_range(
            zone in zone(),
            granularity in granularity(),
            start in 946_684_800_000_000_i64..1_900_000_000_000_000,
            long in 1_i64..8_000_000_000_000,
        ) {
            let moment = |micros| DateTime::from_timestamp_micros(micros).unwrap();
            let range = Range::new(moment(start), moment(start + long)).unwrap();
            let asked = LocalRange { range, zone };
            let steps = steps(&asked, granularity).unwrap();
            prop_assert_eq!(steps[0].range.start(), range.start());
            prop_assert!(steps[0].start <= range.start());
            prop_assert_eq!(steps.last().unwrap().range.end(), range.end());
            for pair in steps.windows(2) {
                prop_assert_eq!(pair[0].range.end(), pair[1].range.start());
                prop_assert_eq!(pair[1].start, pair[1].range.start());
                // Each step begins where local clocks or calendars do, or were changed.
                let local = asked.zone.local(pair[1].start);
                let full = local.format("%M%S").to_string() == "0000";
                prop_assert!(full || asked.zone.last_change(pair[1].start) == Some(pair[1].start));
            }
        }
    }
}
