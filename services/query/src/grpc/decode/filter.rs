//! Filters: lists of alternatives, and amounts.

use rust_decimal::Decimal;
use tandem_proto::{
    google::r#type::Money,
    money::{Currency, MoneyError},
    sales::query::v1 as wire,
};

use super::reader::Reader;
use crate::domain::{
    Fault, SalesFilter, TransactionFilter,
    limits::{MAX_CATEGORY, MAX_FILTER_VALUES, MAX_PAYMENT_METHOD, MAX_PRODUCT_CODE, MONEY_SCALE, max_amount},
};

impl Reader {
    pub fn sales_filter(&mut self, filter: Option<wire::SalesFilter>) -> Option<SalesFilter> {
        let filter = filter.unwrap_or_default();
        let store_ids = self.ids("filter.store_ids", filter.store_ids);
        let payment_methods = self.codes("filter.payment_methods", filter.payment_methods);
        let categories = self.texts("filter.categories", filter.categories, MAX_CATEGORY);
        Some(SalesFilter { store_ids: store_ids?, payment_methods: payment_methods?, categories: categories? })
    }

    pub fn transaction_filter(
        &mut self,
        filter: Option<wire::TransactionFilter>,
        currency: &Currency,
    ) -> Option<TransactionFilter> {
        let filter = filter.unwrap_or_default();
        let store_ids = self.ids("filter.store_ids", filter.store_ids);
        let cashier_ids = self.ids("filter.cashier_ids", filter.cashier_ids);
        let customer_ids = self.ids("filter.customer_ids", filter.customer_ids);
        let payment_methods = self.codes("filter.payment_methods", filter.payment_methods);
        let categories = self.texts("filter.categories", filter.categories, MAX_CATEGORY);
        let product_codes = self.texts("filter.product_codes", filter.product_codes, MAX_PRODUCT_CODE);
        let min = self.amount("filter.min_total_amount", filter.min_total_amount.as_ref(), currency);
        let max = self.amount("filter.max_total_amount", filter.max_total_amount.as_ref(), currency);
        let ordered = min.zip(max).map_or(Ok(()), |(min, max)| in_order(min, max));
        self.check("filter.max_total_amount", ordered);
        Some(TransactionFilter {
            store_ids: store_ids?,
            cashier_ids: cashier_ids?,
            customer_ids: customer_ids?,
            payment_methods: payment_methods?,
            categories: categories?,
            product_codes: product_codes?,
            min_total_amount: min?,
            max_total_amount: max?,
        })
    }

    fn codes(&mut self, field: &str, codes: Vec<String>) -> Option<Vec<String>> {
        self.each(field, codes, |code| if is_code(code) { Ok(()) } else { Err(Fault::NotACode) })
    }

    fn texts(&mut self, field: &str, texts: Vec<String>, max: usize) -> Option<Vec<String>> {
        self.each(field, texts, |text| match text.chars().count() {
            0 => Err(Fault::Empty),
            actual if actual > max => Err(Fault::TooLong { max, actual }),
            _ if text.contains('\0') => Err(Fault::ContainsNul),
            _ => Ok(()),
        })
    }

    fn ids(&mut self, field: &str, ids: Vec<i32>) -> Option<Vec<i32>> {
        self.each(field, ids, |&id| if id >= 1 { Ok(()) } else { Err(Fault::TooSmall { min: 1, actual: id }) })
    }

    /// The values, if they are not too many and each of them is well-formed.
    fn each<T>(
        &mut self,
        field: &str,
        values: Vec<T>,
        well_formed: impl Fn(&T) -> Result<(), Fault>,
    ) -> Option<Vec<T>> {
        let actual = values.len();
        if actual > MAX_FILTER_VALUES {
            return self.check(field, Err(Fault::TooMany { max: MAX_FILTER_VALUES, actual }));
        }
        let mut wrong = false;
        for (index, value) in values.iter().enumerate() {
            wrong |= self.check(format!("{field}[{index}]"), well_formed(value)).is_none();
        }
        (!wrong).then_some(values)
    }

    /// An amount that a sale can have; `Some(None)` where none was given.
    fn amount(&mut self, field: &str, money: Option<&Money>, currency: &Currency) -> Option<Option<Decimal>> {
        let Some(money) = money else { return Some(None) };
        self.check(field, currency.amount(money).map_err(fault).and_then(amount)).map(Some)
    }
}

fn in_order(min: Option<Decimal>, max: Option<Decimal>) -> Result<(), Fault> {
    if min.zip(max).is_some_and(|(min, max)| min > max) { Err(Fault::EmptyAmounts) } else { Ok(()) }
}

fn fault(error: MoneyError) -> Fault {
    match error {
        MoneyError::WrongCurrency { expected } => Fault::WrongCurrency { expected },
        MoneyError::Malformed => Fault::MalformedMoney,
    }
}

fn amount(amount: Decimal) -> Result<Decimal, Fault> {
    if amount < Decimal::ZERO {
        Err(Fault::Negative)
    } else if amount.normalize().scale() > MONEY_SCALE {
        Err(Fault::TooManyDecimals)
    } else if amount > max_amount() {
        Err(Fault::TooLarge)
    } else {
        Ok(amount)
    }
}

fn is_code(text: &str) -> bool {
    let follows = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    text.len() <= MAX_PAYMENT_METHOD && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(follows)
}
