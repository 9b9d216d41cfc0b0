//! Figures over many sales.

use std::ops::AddAssign;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive as _};

use super::{
    cover::{cover, sales_of},
    dimension::{Dimension, Group},
    filter::SalesFilter,
    limits::MONEY_SCALE,
    range::Range,
    segment::Segment,
};

/// Key figures of many sales, or of items of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Sum of `total_amount`; of items: of `total_price`.
    pub revenue: Decimal,
    /// How many sales; of items: how many sales hold any.
    pub transactions: i64,
    /// Sum of the items' quantities.
    pub items_sold: i64,
    /// Sum of `total_discount`; of items: of `discount`.
    pub total_discount: Decimal,
}

impl Figures {
    /// What a sale comes to on average, rounded half up to cents; zero without sales.
    pub fn average_transaction(&self) -> Decimal {
        match self.transactions {
            0 => Decimal::ZERO,
            count => (self.revenue / Decimal::from(count))
                .round_dp_with_strategy(MONEY_SCALE, RoundingStrategy::MidpointAwayFromZero),
        }
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.revenue += other.revenue;
        self.transactions += other.transactions;
        self.items_sold += other.items_sold;
        self.total_discount += other.total_discount;
    }
}

/// The change from one figure to another as a fraction of the earlier one; `None` where that is zero.
pub fn change(earlier: Decimal, later: Decimal) -> Option<f64> {
    ((later - earlier).checked_div(earlier)?).to_f64()
}

/// Which figures are asked for.
#[derive(Clone, Debug)]
pub struct FiguresQuestion {
    /// Over which stretches of time. No two of them overlap.
    pub segments: Vec<Segment>,
    /// Grouped by what.
    pub dimension: Dimension,
    /// Of which sales. With categories in it, figures are those of the items in them, whatever they are grouped by.
    pub filter: SalesFilter,
}

/// Rollups that hold a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rollup {
    /// By which dimension.
    pub dimension: Dimension,
    /// Of which groups, as text; empty: of all.
    pub keys: Vec<String>,
    /// Of products: those of one category.
    pub category: Option<String>,
}

impl FiguresQuestion {
    /// Over these ranges, each of which goes to the step beside it.
    pub fn new(steps: impl IntoIterator<Item = (i32, Range)>, dimension: Dimension, filter: SalesFilter) -> Self {
        let question = Self { segments: Vec::new(), dimension, filter };
        let segments = if question.rollup().is_some() { cover } else { sales_of };
        Self { segments: steps.into_iter().flat_map(|(step, range)| segments(step, range)).collect(), ..question }
    }

    /// Whether figures are those of items, rather than of whole sales.
    pub fn is_of_items(&self) -> bool {
        self.dimension.is_of_items() || !self.filter.categories.is_empty()
    }

    /// The rollups that hold it. They are kept by one dimension each, so a question that looks at sales along two has none;
    /// nor has one about several categories, unless it tells them apart: a sale that is in two of them counts once.
    pub fn rollup(&self) -> Option<Rollup> {
        let SalesFilter { store_ids, payment_methods, categories } = &self.filter;
        let numbers = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (filtered, keys) = match (store_ids.as_slice(), payment_methods.as_slice(), categories.as_slice()) {
            ([], [], []) => (None, Vec::new()),
            (ids, [], []) => (Some(Dimension::Store), numbers(ids)),
            ([], methods, []) => (Some(Dimension::PaymentMethod), methods.to_vec()),
            ([], [], categories) => (Some(Dimension::Category), categories.to_vec()),
            _ => return None,
        };
        let rollup = |dimension, keys, category| Some(Rollup { dimension, keys, category });
        match (self.dimension, filtered) {
            (dimension, None) => rollup(dimension, keys, None),
            (Dimension::Product, Some(Dimension::Category)) if keys.len() == 1 => {
                rollup(Dimension::Product, Vec::new(), keys.into_iter().next())
            }
            (Dimension::All, Some(Dimension::Category)) if keys.len() > 1 => None,
            (dimension, Some(filtered)) if dimension == Dimension::All || dimension == filtered => {
                rollup(filtered, keys, None)
            }
            _ => None,
        }
    }
}

/// The figures of one group in one step. Groups without any sale have none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cell {
    /// As in the question's segments.
    pub step: i32,
    /// Which group.
    pub group: Group,
    /// Its figures.
    pub figures: Figures,
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Dimension, Figures, FiguresQuestion, SalesFilter, change};

    fn average(revenue: &str, transactions: i64) -> String {
        let revenue = revenue.parse().unwrap();
        Figures { revenue, transactions, ..Figures::default() }.average_transaction().to_string()
    }

    #[test]
    fn the_average_is_rounded_half_up_to_cents() {
        assert_eq!(average("0.01", 2), "0.01");
        assert_eq!(average("10.00", 3), "3.33");
        assert_eq!(average("20.00", 3), "6.67");
    }

    #[test]
    fn no_sales_average_to_zero() {
        assert_eq!(Figures::default().average_transaction(), Decimal::ZERO);
    }

    #[test]
    fn a_change_is_a_fraction_of_the_earlier_figure() {
        let change = |earlier: i64, later: i64| change(Decimal::from(earlier), Decimal::from(later));
        assert_eq!(change(200, 250), Some(0.25));
        assert_eq!(change(200, 0), Some(-1.0));
        assert_eq!(change(0, 250), None);
        assert_eq!(change(0, 0), None);
    }

    /// Whether rollups hold figures that are grouped by this.
    fn rollups_have(dimension: Dimension, filter: &SalesFilter) -> bool {
        FiguresQuestion::new([], dimension, filter.clone()).rollup().is_some()
    }

    fn filter(stores: usize, methods: usize, categories: usize) -> SalesFilter {
        SalesFilter {
            store_ids: vec![1; stores],
            payment_methods: vec!["cash".to_owned(); methods],
            categories: vec!["Food".to_owned(); categories],
        }
    }

    #[test]
    fn rollups_answer_what_is_about_one_dimension() {
        use Dimension::{All, Cashier, Category, PaymentMethod, Product, Store};
        for dimension in [All, Store, Cashier, PaymentMethod, Category, Product] {
            assert!(rollups_have(dimension, &filter(0, 0, 0)), "{dimension:?}");
            assert!(!rollups_have(dimension, &filter(1, 1, 0)), "{dimension:?}");
            assert!(!rollups_have(dimension, &filter(1, 0, 1)), "{dimension:?}");
            let cases = [(filter(2, 0, 0), [All, Store]), (filter(0, 2, 0), [All, PaymentMethod])];
            for (filter, answerable) in cases {
                assert_eq!(
                    rollups_have(dimension, &filter),
                    answerable.contains(&dimension),
                    "{dimension:?} {filter:?}"
                );
            }
        }
    }

    #[test]
    fn rollups_answer_one_category_and_several_only_apart() {
        use Dimension::{All, Cashier, Category, PaymentMethod, Product, Store};
        for dimension in [All, Category, Product] {
            assert!(rollups_have(dimension, &filter(0, 0, 1)), "{dimension:?}");
            assert_eq!(rollups_have(dimension, &filter(0, 0, 2)), dimension == Category, "{dimension:?}");
        }
        for dimension in [Store, Cashier, PaymentMethod] {
            assert!(!rollups_have(dimension, &filter(0, 0, 1)), "{dimension:?}");
        }
    }
}
