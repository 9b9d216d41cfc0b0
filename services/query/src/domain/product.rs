//! The products that sold best.

use std::{cmp::Reverse, collections::HashMap};

use super::{
    dimension::Group,
    figures::{Cell, Figures},
};

/// What makes a product a top product.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ranking {
    /// The sum of `total_price`.
    Revenue,
    /// The sum of `quantity`.
    Quantity,
}

/// How a product is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Label {
    /// As on its newest sale.
    pub product_name: String,
    /// As on its newest sale.
    pub category: Option<String>,
}

/// A product's figures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Product {
    /// Identifies it.
    pub product_code: String,
    /// How it is called.
    pub label: Label,
    /// Of its items.
    pub figures: Figures,
}

/// At most `limit` products, best first; products of equal figures in the order of their codes, byte by byte. Groups that
/// are no products are left out.
pub fn best_products(cells: Vec<Cell>, ranking: Ranking, limit: usize) -> Vec<(String, Figures)> {
    let product = |cell: Cell| match cell.group {
        Group::Product(code) => Some((code, cell.figures)),
        _ => None,
    };
    let mut products: Vec<_> = cells.into_iter().filter_map(product).collect();
    products.sort_by(|(one, of_one), (other, of_other)| {
        let better = match ranking {
            Ranking::Revenue => Reverse(of_one.revenue).cmp(&Reverse(of_other.revenue)),
            Ranking::Quantity => Reverse(of_one.items_sold).cmp(&Reverse(of_other.items_sold)),
        };
        better.then_with(|| one.cmp(other))
    });
    products.truncate(limit);
    products
}

impl Product {
    /// Products with what they are called.
    pub fn labelled(products: Vec<(String, Figures)>, mut labels: HashMap<String, Label>) -> Vec<Self> {
        let labelled = |(product_code, figures): (String, Figures)| {
            let label = labels.remove(&product_code).unwrap_or_default();
            Self { product_code, label, figures }
        };
        products.into_iter().map(labelled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Figures, Group, Ranking, best_products};

    fn cell(code: &str, revenue: i64, items_sold: i64) -> Cell {
        let figures = Figures { revenue: revenue.into(), items_sold, ..Figures::default() };
        Cell { step: 0, group: Group::Product(code.to_owned()), figures }
    }

    #[test]
    fn products_are_ranked_and_ties_are_in_the_order_of_their_bytes() {
        let cells = vec![cell("b", 5, 1), cell("B", 5, 2), cell("z", 9, 1), cell("a", 1, 7)];
        let codes = |ranking, limit| -> Vec<_> {
            best_products(cells.clone(), ranking, limit).into_iter().map(|(code, _)| code).collect()
        };
        assert_eq!(codes(Ranking::Revenue, 10), ["z", "B", "b", "a"]);
        assert_eq!(codes(Ranking::Quantity, 3), ["a", "B", "b"]);
    }
}
