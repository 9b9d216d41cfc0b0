//! Which sales a question is about. Each list holds alternatives; an empty one lets every sale pass.

/// Which sales figures are made of: what they can be told apart by without looking at each sale.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SalesFilter {
    /// Sales of these stores.
    pub store_ids: Vec<i32>,
    /// Sales paid with one of these.
    pub payment_methods: Vec<String>,
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
}
