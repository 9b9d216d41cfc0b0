//! Medians and spreads: the machine drifts, so a single figure says nothing.

use serde::Serialize;

/// A ratio over the rounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the rounds are below, half above.
    pub median: f64,
    /// Of the worst round.
    pub low: f64,
    /// Of the best round.
    pub high: f64,
}

impl Spread {
    /// Of at least one value; `None` of none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Some(Spread { median, low, high })
    }
}

/// The median; `None` of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

/// As many decimals as a figure of this kind deserves.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_lowest_and_highest_in_any_order() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(Spread::of(&[1.5]), Some(Spread { median: 1.5, low: 1.5, high: 1.5 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn figures_are_rounded_to_the_decimals_asked_for() {
        assert_eq!((rounded(1.2345, 2), rounded(1234.5, 0), rounded(0.0049, 3)), (1.23, 1235.0, 0.005));
    }
}
