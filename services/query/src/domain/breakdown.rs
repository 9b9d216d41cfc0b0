//! Figures of groups beside each other.

use std::cmp::Reverse;

use super::{
    dimension::Group,
    figures::{Cell, Figures},
    steps::HOURS_OF_WEEK,
};

/// The figures of one group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupFigures {
    /// Which group.
    pub group: Group,
    /// Its figures.
    pub figures: Figures,
}

/// Groups beside each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Breakdown {
    /// Those that were asked for.
    pub rows: Vec<GroupFigures>,
    /// How many there are, also beyond those.
    pub total_groups: usize,
}

/// Highest revenue first, ties in the order of their keys; at most `limit`.
pub fn by_revenue(cells: Vec<Cell>, limit: usize) -> Breakdown {
    let mut rows: Vec<_> =
        cells.into_iter().map(|Cell { group, figures, .. }| GroupFigures { group, figures }).collect();
    rows.sort_by(|one, other| {
        (Reverse(one.figures.revenue), &one.group).cmp(&(Reverse(other.figures.revenue), &other.group))
    });
    let total_groups = rows.len();
    rows.truncate(limit);
    Breakdown { rows, total_groups }
}

/// Each hour of the week in its place, those without sales included. A cell's step is its hour.
pub fn each_hour_of_week(cells: Vec<Cell>) -> Breakdown {
    let empty = |hour| GroupFigures { group: Group::HourOfWeek(hour), figures: Figures::default() };
    let mut rows: Vec<_> = (0..HOURS_OF_WEEK).map(empty).collect();
    for cell in cells {
        let row = usize::try_from(cell.step).ok().and_then(|hour| rows.get_mut(hour));
        row.expect("a cell is of an hour that was asked for").figures = cell.figures;
    }
    Breakdown { total_groups: rows.len(), rows }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Figures, Group, by_revenue, each_hour_of_week};

    fn cell(step: i32, group: Group, revenue: i64) -> Cell {
        Cell { step, group, figures: Figures { revenue: revenue.into(), ..Figures::default() } }
    }

    #[test]
    fn groups_are_in_the_order_of_revenue_then_of_keys_and_counted_before_they_are_cut() {
        let category = |text: Option<&str>| Group::Category(text.map(str::to_owned));
        let cells = vec![
            cell(0, category(Some("b")), 5),
            cell(0, category(Some("B")), 5),
            cell(0, category(None), 5),
            cell(0, category(Some("a")), 1),
            cell(0, category(Some("z")), 10),
        ];
        let breakdown = by_revenue(cells, 4);
        let groups: Vec<_> = breakdown.rows.into_iter().map(|row| row.group).collect();
        assert_eq!(groups, [category(Some("z")), category(None), category(Some("B")), category(Some("b"))]);
        assert_eq!(breakdown.total_groups, 5);
    }

    #[test]
    fn each_hour_of_the_week_is_there_and_in_its_place() {
        let rows = each_hour_of_week(vec![cell(167, Group::All, 2), cell(25, Group::All, 1)]).rows;
        assert_eq!(rows.len(), 168);
        assert_eq!(rows[25].figures.revenue.to_string(), "1");
        assert_eq!(
            (&rows[167].group, rows[167].figures.revenue.to_string()),
            (&Group::HourOfWeek(167), "2".to_owned())
        );
        assert_eq!(rows[0].figures, Figures::default());
    }
}
