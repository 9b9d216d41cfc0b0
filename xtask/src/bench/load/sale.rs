//! The sale that both sides write: a header and three items, the same texts, quantities drawn anew each time.

use std::time::SystemTime;

use rand::{Rng, RngExt};
use rust_decimal::Decimal;
use tandem_proto::google::r#type::Money;
use tandem_proto::money::Currency;
use tandem_proto::sales::command::v1::CreateTransactionRequest;
use tandem_proto::sales::v1::{SalesItem, SalesTransaction};
use uuid::Uuid;

use crate::seed::{CATALOGUE, Product};

/// The products of every sale.
pub const LINES: [&Product; 3] = [&CATALOGUE[3].0, &CATALOGUE[15].0, &CATALOGUE[22].0];

/// The most pieces of a product.
pub const MOST_PIECES: i32 = 3;

/// Stores, cashiers and customers are numbered from 1 to these.
pub const STORES: i32 = 5;
/// See [`STORES`].
pub const CASHIERS: i32 = 10;
/// See [`STORES`].
pub const CUSTOMERS: i32 = 1_000;

/// How all of them are paid.
pub const PAYMENT_METHOD: &str = "credit_card";

/// A store that is valid in itself, and that a constraint of the measured databases refuses.
pub const STORE_THAT_IS_REFUSED: i32 = 666;

/// Makes requests.
#[derive(Debug)]
pub struct Requests {
    currency: Currency,
    refused_percent: u32,
}

/// A request and what is known of its answer.
#[derive(Debug)]
pub struct Planned {
    /// What is sent.
    pub request: CreateTransactionRequest,
    /// Whether it must be refused.
    pub refused: bool,
    /// The total that the answer must name.
    pub total: Money,
}

impl Requests {
    /// Requests of which so many of a hundred are to be refused.
    pub fn new(refused_percent: u32) -> Requests {
        Requests { currency: "USD".parse().expect("USD is a currency"), refused_percent }
    }

    /// A sale of this moment with a request id of its own.
    pub fn next(&self, rng: &mut impl Rng) -> Planned {
        let refused = self.refused_percent > 0 && rng.random_ratio(self.refused_percent.min(100), 100);
        let quantities = LINES.map(|_| rng.random_range(1..=MOST_PIECES));
        let total: Decimal =
            LINES.iter().zip(quantities).map(|(product, pieces)| product.unit_price() * Decimal::from(pieces)).sum();
        let items = LINES.iter().zip(quantities).map(|(product, pieces)| self.item(product, pieces)).collect();
        let transaction = SalesTransaction {
            transaction_time: Some(SystemTime::now().into()),
            cashier_id: rng.random_range(1..=CASHIERS),
            store_id: if refused { STORE_THAT_IS_REFUSED } else { rng.random_range(1..=STORES) },
            payment_method: PAYMENT_METHOD.to_owned(),
            customer_id: Some(rng.random_range(1..=CUSTOMERS)),
            items,
            ..SalesTransaction::default()
        };
        let request_id = Uuid::new_v4().to_string();
        let request = CreateTransactionRequest { transaction: Some(transaction), request_id, validate_only: false };
        Planned { request, refused, total: self.currency.money(total) }
    }

    fn item(&self, product: &Product, quantity: i32) -> SalesItem {
        SalesItem {
            product_code: product.code.to_owned(),
            product_name: product.name.to_owned(),
            category: Some(product.category.to_owned()),
            quantity,
            unit_price: Some(self.currency.money(product.unit_price())),
            ..SalesItem::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_hundredth_is_planned_to_be_refused_and_nothing_else_names_that_store() {
        let requests = Requests::new(1);
        let planned: Vec<Planned> = (0..20_000).map(|_| requests.next(&mut rand::rng())).collect();
        let refused = planned.iter().filter(|planned| planned.refused).count();
        assert!((100..300).contains(&refused), "{refused}");
        for planned in &planned {
            let store = planned.request.transaction.as_ref().unwrap().store_id;
            assert_eq!(store == STORE_THAT_IS_REFUSED, planned.refused);
        }
        assert!((0..1_000).all(|_| !Requests::new(0).next(&mut rand::rng()).refused));
    }

    #[test]
    fn every_request_has_an_id_of_its_own_and_three_items() {
        let requests = Requests::new(0);
        let all: Vec<_> = (0..100).map(|_| requests.next(&mut rand::rng()).request).collect();
        assert_eq!(all.iter().map(|request| &request.request_id).collect::<BTreeSet<_>>().len(), 100);
        assert!(all.iter().all(|request| request.transaction.as_ref().unwrap().items.len() == 3));
    }
}
