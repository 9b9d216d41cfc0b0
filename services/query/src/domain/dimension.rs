//! By what sales can be told apart in figures.

/// What figures are grouped by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dimension {
    /// By nothing: one group.
    All,
    /// By store.
    Store,
    /// By cashier.
    Cashier,
    /// By payment method.
    PaymentMethod,
    /// By the category of the items.
    Category,
    /// By product.
    Product,
}

/// One group of sales, or of items.
///
/// Of stores, cashiers and payment methods, figures are those of whole sales: revenue is the sum of `total_amount`.
/// Of categories and products they are those of the items in the group: revenue is the sum of `total_price`, and a sale
/// counts once in each group that any of its items is in.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// All there is.
    All,
    /// Sales of a store.
    Store(i32),
    /// Sales rung up by a cashier.
    Cashier(i32),
    /// Sales paid in one way.
    PaymentMethod(String),
    /// Items of a category; `None`: items without one.
    Category(Option<String>),
    /// Items with a product code.
    Product(String),
    /// Sales of an hour of the week: Monday, 0 o'clock, is 0. Told apart by steps, not by a dimension.
    HourOfWeek(i32),
}

impl Dimension {
    /// Whether groups hold items, rather than whole sales.
    pub const fn is_of_items(self) -> bool {
        matches!(self, Self::Category | Self::Product)
    }
}
