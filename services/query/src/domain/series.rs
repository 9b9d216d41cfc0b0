//! Figures step by step, without gaps.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{
    dimension::Group,
    figures::{Cell, Figures},
    limits::{MAX_POINTS, MAX_SERIES},
    steps::Step,
};

/// One step of a series.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Point {
    /// Where the step begins.
    pub start: DateTime<Utc>,
    /// The figures of the step.
    pub figures: Figures,
}

/// The series of one group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Series {
    /// Which group.
    pub group: Group,
    /// One for each step.
    pub points: Vec<Point>,
}

/// More groups, or more points in all, than an answer holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{groups} groups of {steps} steps are more than the {MAX_SERIES} groups and {MAX_POINTS} points of an answer; \
     filter, ask for a shorter range or for longer steps"
)]
pub struct TooManySeries {
    /// Found.
    pub groups: usize,
    /// Of each.
    pub steps: usize,
}

/// All groups together: one series, also where there are no sales. Cells are counted by their step.
pub fn one_series(steps: &[Step], cells: Vec<Cell>) -> Vec<Point> {
    let mut points = empty(steps);
    cells.into_iter().for_each(|cell| fill(&mut points, &cell));
    points
}

/// One series for each group that has any sales, in the order of their keys.
pub fn each_series(steps: &[Step], cells: Vec<Cell>) -> Result<Vec<Series>, TooManySeries> {
    let mut by_group: BTreeMap<Group, Vec<Cell>> = BTreeMap::new();
    for cell in cells {
        by_group.entry(cell.group.clone()).or_default().push(cell);
    }
    let groups = by_group.len();
    if groups > MAX_SERIES || groups * steps.len() > MAX_POINTS {
        return Err(TooManySeries { groups, steps: steps.len() });
    }
    let series = |(group, cells)| Series { group, points: one_series(steps, cells) };
    Ok(by_group.into_iter().map(series).collect())
}

fn empty(steps: &[Step]) -> Vec<Point> {
    steps.iter().map(|step| Point { start: step.start, figures: Figures::default() }).collect()
}

fn fill(points: &mut [Point], cell: &Cell) {
    let point = usize::try_from(cell.step).ok().and_then(|step| points.get_mut(step));
    point.expect("a cell is of a step that was asked for").figures = cell.figures;
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::{Cell, DateTime, Figures, Group, Step, TooManySeries, each_series};
    use crate::domain::Range;

    fn steps(count: i64) -> Vec<Step> {
        let day = |day| DateTime::UNIX_EPOCH + TimeDelta::days(day);
        (0..count).map(|n| Step { start: day(n), range: Range::new(day(n), day(n + 1)).unwrap() }).collect()
    }

    fn cell(step: i32, store_id: i32, revenue: i64) -> Cell {
        let figures = Figures { revenue: revenue.into(), ..Figures::default() };
        Cell { step, group: Group::Store(store_id), figures }
    }

    #[test]
    fn each_group_has_a_point_for_each_step_in_the_order_of_keys() {
        let series = each_series(&steps(3), vec![cell(2, 10, 5), cell(0, 9, 4), cell(0, 10, 3)]).unwrap();
        let revenue = |series: &super::Series| {
            series.points.iter().map(|point| point.figures.revenue.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            series.iter().map(|series| series.group.clone()).collect::<Vec<_>>(),
            [Group::Store(9), Group::Store(10)]
        );
        assert_eq!(series.iter().map(revenue).collect::<Vec<_>>(), [["4", "0", "0"], ["3", "0", "5"]]);
    }

    #[test]
    fn an_answer_holds_so_many_groups_and_points_and_no_more() {
        let groups = |count| (1..=count).map(|store| cell(0, store, 1)).collect::<Vec<_>>();
        assert!(each_series(&steps(45), groups(1_000)).is_ok());
        assert_eq!(each_series(&steps(46), groups(1_000)), Err(TooManySeries { groups: 1_000, steps: 46 }));
        assert_eq!(each_series(&steps(1), groups(1_001)), Err(TooManySeries { groups: 1_001, steps: 1 }));
    }
}
