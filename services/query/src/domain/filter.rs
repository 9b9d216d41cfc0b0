//! Which sales a question is about. Each list holds alternatives; an empty one lets every sale pass.

use rust_decimal::Decimal;

use super::sale::{Item, Sale};

/// Which sales figures are made of: what they can be told apart by without looking at each sale.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct SalesFilter {
    /// Sales of these stores.
    pub store_ids: Vec<i32>,
    /// Sales paid with one of these.
    pub payment_methods: Vec<String>,
    /// Items of one of these categories.
    pub categories: Vec<String>,
}

/// Which sales a listing shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TransactionFilter {
    /// Sales of these stores.
    pub store_ids: Vec<i32>,
    /// Sales rung up by these cashiers.
    pub cashier_ids: Vec<i32>,
    /// Sales to these customers.
    pub customer_ids: Vec<i32>,
    /// Sales paid with one of these.
    pub payment_methods: Vec<String>,
    /// Sales that hold an item of one of these categories.
    pub categories: Vec<String>,
    /// Sales that hold an item with one of these product codes.
    pub product_codes: Vec<String>,
    /// Sales whose total amount is at least this.
    pub min_total_amount: Option<Decimal>,
    /// Sales whose total amount is at most this.
    pub max_total_amount: Option<Decimal>,
}

impl TransactionFilter {
    /// Whether a sale is one of those.
    pub fn passes(&self, sale: &Sale) -> bool {
        let one_of_items = |wanted: &[String], of: fn(&Item) -> Option<&String>| {
            wanted.is_empty() || sale.items.iter().filter_map(of).any(|value| wanted.contains(value))
        };
        one_of(&self.store_ids, &sale.store_id)
            && one_of(&self.cashier_ids, &sale.cashier_id)
            && (self.customer_ids.is_empty() || sale.customer_id.is_some_and(|id| self.customer_ids.contains(&id)))
            && one_of(&self.payment_methods, &sale.payment_method)
            && one_of_items(&self.categories, |item| item.category.as_ref())
            && one_of_items(&self.product_codes, |item| Some(&item.product_code))
            && self.min_total_amount.is_none_or(|least| sale.total_amount >= least)
            && self.max_total_amount.is_none_or(|most| sale.total_amount <= most)
    }
}

fn one_of<T: PartialEq>(wanted: &[T], actual: &T) -> bool {
    wanted.is_empty() || wanted.contains(actual)
}
