//! Sales through the front door: one CreateTransaction each, many in flight.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, stream};
use prost_types::Timestamp;
use rand::RngExt;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tandem_proto::google::r#type::Money;
use tandem_proto::sales::command::v1::CreateTransactionRequest;
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tandem_proto::sales::v1::{SalesItem, SalesTransaction};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::Plan;
use super::batch::Batch;
use super::generator::{Line, Sale};
use super::progress::{Outcome, Progress, Share};
use crate::channel::connect;
use crate::terminal::counted;

/// Far above what a commit takes even when the disk is busy; the service sees it as its deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one sale. With the pauses below they span about 15 seconds: a restart of the service.
pub(super) const MAX_TRIES: u32 = 12;
/// Pauses double from the first to the longest; each is drawn from the upper half, so that calls that
/// failed together do not come back together.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Creates the sales of `plan` through the command service at `command_address`, `host:port` or a URL.
///
/// Draws a bar on standard error where that is a terminal, and prints nothing else. When `stop` resolves,
/// no further calls begin and those in flight are awaited; the outcome then says `stopped`.
///
/// # Errors
///
/// The service can't be reached, or refuses a sale, or stays unavailable through all tries. The message says
/// how many sales are in.
pub async fn fill(command_address: &str, plan: &Plan, stop: impl Future<Output = ()>) -> anyhow::Result<Outcome> {
    fill_batch(command_address, plan, None, stop).await
}

/// The same, where the sales are a batch: what the service has stored is named behind it.
pub(super) async fn fill_batch(
    command_address: &str,
    plan: &Plan,
    mut batch: Option<&mut Batch>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let client = SalesCommandServiceClient::new(channel(command_address).await?);
    let mut progress = Progress::start(plan.sales);
    let calls = stream::iter(plan.sales())
        .take_until(stop)
        .map(|sale| {
            let share = Share::from(&sale);
            let client = client.clone();
            async move { create(client, &sale, &plan.currency).await.map(|id| (share, id)) }
        })
        .buffer_unordered(plan.batch_size.max(1));
    let mut calls = std::pin::pin!(calls);
    while let Some(created) = calls.next().await {
        match created {
            Ok((share, transaction_id)) => {
                if let Some(batch) = &mut batch {
                    batch.add(&transaction_id, share).await?;
                }
                progress.add(share);
            }
            Err(status) => {
                let sales = progress.sales();
                drop(progress);
                return Err(refused(&status))
                    .with_context(|| format!("seeding ended early after {}", counted(sales, "sale")));
            }
        }
    }
    Ok(progress.finish())
}

pub(super) fn refused(status: &Status) -> anyhow::Error {
    anyhow::anyhow!("the command service answered {:?}: {}", status.code(), status.message())
}

/// A connection to the service, renewed by itself when it breaks.
pub(super) async fn channel(address: &str) -> anyhow::Result<Channel> {
    connect("command", address).await
}

/// One sale, once: every try carries the same request id, so a try whose answer was lost is not applied again. Gives its
/// id.
async fn create(mut client: SalesCommandServiceClient<Channel>, sale: &Sale, currency: &str) -> Result<String, Status> {
    let request = CreateTransactionRequest {
        transaction: Some(message(sale, currency)),
        request_id: Uuid::new_v4().to_string(),
        validate_only: false,
    };
    let mut tries = 1;
    loop {
        let mut call = Request::new(request.clone());
        call.set_timeout(CALL_TIMEOUT);
        match client.create_transaction(call).await {
            Ok(answer) => {
                return Ok(answer.into_inner().transaction.map(|sale| sale.transaction_id).unwrap_or_default());
            }
            Err(status) if tries < MAX_TRIES && is_passing(&status) => {
                tokio::time::sleep(pause_after(tries)).await;
                tries += 1;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Whether the same call may succeed a little later: the service is away or full, or the connection broke before
/// the answer was whole. Only a status that was made on this side of the connection has a source.
pub(super) fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) || status.source().is_some()
}

pub(super) fn pause_after(tries: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// The sale with the totals that we expect: the service refuses it if it computes others.
pub(super) fn message(sale: &Sale, currency: &str) -> SalesTransaction {
    SalesTransaction {
        transaction_time: Some(Timestamp {
            seconds: sale.time.timestamp(),
            nanos: i32::try_from(sale.time.timestamp_subsec_nanos()).expect("below two billion by definition"),
        }),
        cashier_id: sale.cashier_id,
        store_id: sale.store_id,
        payment_method: sale.payment_method.to_owned(),
        total_amount: Some(money(sale.total_amount(), currency)),
        total_discount: Some(money(sale.total_discount(), currency)),
        customer_id: sale.customer_id,
        items: sale.lines.iter().map(|line| item(line, currency)).collect(),
        ..SalesTransaction::default()
    }
}

fn item(line: &Line, currency: &str) -> SalesItem {
    SalesItem {
        product_code: line.product.code.to_owned(),
        product_name: line.product.name.to_owned(),
        category: Some(line.product.category.to_owned()),
        quantity: line.quantity,
        unit_price: Some(money(line.product.unit_price(), currency)),
        discount: Some(money(line.discount, currency)),
        total_price: Some(money(line.total_price(), currency)),
        ..SalesItem::default()
    }
}

pub(super) fn money(amount: Decimal, currency: &str) -> Money {
    let nanos = amount.fract() * Decimal::from(1_000_000_000);
    Money {
        currency_code: currency.to_owned(),
        units: amount.trunc().to_i64().expect("a generated amount is far below the limits of i64"),
        nanos: nanos.to_i32().expect("the fraction of a unit is below a billion billionths"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_units_and_billionths() {
        let sent = money(Decimal::new(725, 2), "USD");
        assert_eq!((sent.units, sent.nanos, sent.currency_code.as_str()), (7, 250_000_000, "USD"));
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert!(pause_after(1) <= FIRST_PAUSE);
        for tries in 1..100 {
            assert!(pause_after(tries) <= LONGEST_PAUSE);
            assert!(pause_after(tries) >= FIRST_PAUSE / 2);
        }
        assert!(pause_after(50) >= LONGEST_PAUSE / 2);
    }

    #[test]
    fn a_service_that_is_away_or_full_is_tried_again() {
        assert!(is_passing(&Status::unavailable("starting")) && is_passing(&Status::resource_exhausted("full")));
    }

    #[test]
    fn a_connection_that_broke_is_tried_again_and_the_same_code_as_an_answer_is_not() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(is_passing(&Status::from_error(Box::new(broken))));
        assert!(!is_passing(&Status::unknown("no")) && !is_passing(&Status::invalid_argument("no")));
    }

    #[test]
    fn a_message_agrees_with_its_sale() {
        let plan = Plan::new(50);
        for sale in plan.sales() {
            let sent = message(&sale, "USD");
            assert_eq!(sent.items.len(), sale.lines.len());
            assert_eq!(sent.transaction_time.as_ref().unwrap().seconds, sale.time.timestamp());
            let sum = |of: fn(&SalesItem) -> &Option<Money>| -> i128 {
                sent.items.iter().filter_map(|item| of(item).as_ref()).map(nanos).sum()
            };
            assert_eq!(sum(|item| &item.total_price), nanos(sent.total_amount.as_ref().unwrap()));
            assert_eq!(sum(|item| &item.discount), nanos(sent.total_discount.as_ref().unwrap()));
        }
    }

    fn nanos(money: &Money) -> i128 {
        i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
    }
}
