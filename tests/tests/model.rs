//! A model of the command service: whatever callers do, in whatever order, the primary and the replica end as the model
//! says.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{env, sync::atomic::AtomicI32, sync::atomic::Ordering, time::Duration};

use proptest::{prelude::*, test_runner::Config, test_runner::TestRunner};
use rust_decimal::Decimal;
use tandem_proto::sales::{
    command::v1::{
        AddItemRequest, CreateTransactionRequest, DeleteItemRequest, DeleteTransactionRequest, UpdateItemRequest,
        UpdateTransactionRequest, sales_command_service_client::SalesCommandServiceClient,
    },
    query::v1::GetTransactionRequest,
    v1::{SalesItem, SalesTransaction},
};
use tandem_tests::{
    Tandem,
    request::{after, create, item, reason, sale, usd},
};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

/// Histories that are played; `TANDEM_HISTORIES` asks for more or fewer.
const HISTORIES: u32 = 500;

/// One store for each history, so that its sales can be told from all others.
static NEXT_STORE: AtomicI32 = AtomicI32::new(1_000_000);

/// A line, in cents.
type Line = (i32, i64, i64);

#[derive(Clone, Copy, Debug)]
enum Etag {
    Right,
    Wrong,
    Absent,
}

/// What one caller does. Numbers choose among what is there, modulo how much there is.
#[derive(Clone, Debug)]
enum Step {
    Create(Vec<Line>),
    /// Stops waiting after so many microseconds, then tries again with the same request id.
    CreateCancelled(Vec<Line>, u64),
    Replace(usize, Etag, Vec<Line>),
    AddItem(usize, Etag, Line),
    UpdateQuantity(usize, usize, i32),
    DeleteItem(usize, usize),
    Delete(usize, Etag),
    /// Sends an earlier create once more.
    Retry(usize),
    /// Sends another create with an earlier one's request id.
    AlteredRetry(usize),
}

fn line() -> impl Strategy<Value = Line> {
    (1..20, 0..5_000_i64)
        .prop_flat_map(|(quantity, price)| (Just(quantity), Just(price), 0..=(i64::from(quantity) * price).min(300)))
}

fn step() -> impl Strategy<Value = Step> {
    let lines = || prop::collection::vec(line(), 1..4);
    let etag = || prop_oneof![Just(Etag::Right), Just(Etag::Wrong), Just(Etag::Absent)];
    prop_oneof![
        3 => lines().prop_map(Step::Create),
        1 => (lines(), 0..4_000_u64).prop_map(|(lines, wait)| Step::CreateCancelled(lines, wait)),
        2 => (any::<usize>(), etag(), lines()).prop_map(|(sale, etag, lines)| Step::Replace(sale, etag, lines)),
        2 => (any::<usize>(), etag(), line()).prop_map(|(sale, etag, line)| Step::AddItem(sale, etag, line)),
        1 => (any::<usize>(), any::<usize>(), 1..50).prop_map(|(sale, item, to)| Step::UpdateQuantity(sale, item, to)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(sale, item)| Step::DeleteItem(sale, item)),
        1 => (any::<usize>(), etag()).prop_map(|(sale, etag)| Step::Delete(sale, etag)),
        1 => any::<usize>().prop_map(Step::Retry),
        1 => any::<usize>().prop_map(Step::AlteredRetry),
    ]
}

/// What the model knows of a sale.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    version: i64,
    /// `None` once it is deleted.
    lines: Option<Vec<Line>>,
    item_ids: Vec<String>,
    asked: CreateTransactionRequest,
    /// The lines of the first answer, which a retry gets again.
    first: Vec<Line>,
}

struct History<'a> {
    tandem: &'a Tandem,
    commands: SalesCommandServiceClient<Channel>,
    store: i32,
    sales: Vec<Known>,
    token: String,
}

fn wire(line: Line) -> SalesItem {
    let (quantity, price, discount) = line;
    let money = |cents| usd(&Decimal::new(cents, 2).to_string());
    SalesItem { unit_price: Some(money(price)), discount: Some(money(discount)), ..item("A", quantity, "0.00") }
}

fn lines_of(sale: &SalesTransaction) -> Vec<Line> {
    let cents = |money: &Option<tandem_proto::google::r#type::Money>| {
        let money = money.as_ref().unwrap();
        money.units * 100 + i64::from(money.nanos) / 10_000_000
    };
    let line = |item: &SalesItem| (item.quantity, cents(&item.unit_price), cents(&item.discount));
    let lines: Vec<_> = sale.items.iter().map(line).collect();
    let amount: i64 = lines.iter().map(|(quantity, price, discount)| i64::from(*quantity) * price - discount).sum();
    assert_eq!(cents(&sale.total_amount), amount, "the header agrees with the items");
    assert_eq!(cents(&sale.total_discount), lines.iter().map(|(_, _, discount)| discount).sum::<i64>());
    lines
}

impl History<'_> {
    async fn play(&mut self, step: Step) {
        match step {
            Step::Create(lines) => {
                let asked = self.new_sale(&lines);
                self.create(asked, lines).await;
            }
            Step::CreateCancelled(lines, wait) => {
                let asked = self.new_sale(&lines);
                let (mut commands, first) = (self.commands.clone(), asked.clone());
                let call = async move { commands.create_transaction(first).await };
                // Either it is answered in time, or nobody knows: the next try must find out.
                let _ = tokio::time::timeout(Duration::from_micros(wait), call).await;
                self.create(asked, lines).await;
            }
            Step::Retry(number) => self.retry(number).await,
            Step::AlteredRetry(number) => {
                let Some(known) = self.pick(number) else { return };
                let mut asked = self.sales[known].asked.clone();
                asked.transaction.as_mut().unwrap().cashier_id += 1;
                let status = self.commands.create_transaction(asked).await.unwrap_err();
                assert_eq!(reason(&status), "REQUEST_ID_REUSED");
            }
            change => self.change(change).await,
        }
    }

    fn pick(&self, number: usize) -> Option<usize> {
        (!self.sales.is_empty()).then(|| number % self.sales.len())
    }

    fn new_sale(&self, lines: &[Line]) -> CreateTransactionRequest {
        let items = lines.iter().copied().map(wire).collect();
        CreateTransactionRequest { request_id: Uuid::now_v7().to_string(), ..create(sale(self.store, items)) }
    }

    async fn create(&mut self, asked: CreateTransactionRequest, lines: Vec<Line>) {
        let answer = self.commands.create_transaction(asked.clone()).await.unwrap().into_inner();
        let stored = answer.transaction.unwrap();
        assert_eq!((lines_of(&stored), stored.etag.as_str()), (lines.clone(), "v1"));
        self.token = answer.consistency_token;
        let item_ids = stored.items.into_iter().map(|item| item.item_id).collect();
        let (id, first) = (stored.transaction_id, lines.clone());
        self.sales.push(Known { id, version: 1, lines: Some(lines), item_ids, asked, first });
    }

    async fn retry(&mut self, number: usize) {
        let Some(known) = self.pick(number) else { return };
        let known = &self.sales[known];
        let answer = self.commands.create_transaction(known.asked.clone()).await.unwrap();
        assert_eq!(answer.metadata().get("tandem-replayed").unwrap(), "true");
        let first = answer.into_inner().transaction.unwrap();
        assert_eq!((&first.transaction_id, lines_of(&first)), (&known.id, known.first.clone()));
        assert_eq!(first.etag, "v1", "the first answer, whatever has happened since");
    }

    async fn change(&mut self, change: Step) {
        let (Step::Replace(number, ..)
        | Step::AddItem(number, ..)
        | Step::UpdateQuantity(number, ..)
        | Step::DeleteItem(number, ..)
        | Step::Delete(number, ..)) = change
        else {
            unreachable!("played above")
        };
        let Some(place) = self.pick(number) else { return };
        let known = self.sales[place].clone();
        let expected = expected(&known, &change);
        let answer = self.send(&known, change).await;
        match (expected, answer) {
            (Ok(lines), Ok((after, token))) => {
                let sale = &mut self.sales[place];
                sale.version += 1;
                sale.lines = lines;
                if let (Some(lines), Some(after)) = (&sale.lines, after) {
                    assert_eq!((&lines_of(&after), after.etag), (lines, format!("v{}", sale.version)));
                    sale.item_ids = after.items.into_iter().map(|item| item.item_id).collect();
                }
                self.token = token;
            }
            (Err(expected), Err(status)) => assert_eq!(reason(&status), expected),
            (expected, answer) => panic!("expected {expected:?}, got {answer:?}"),
        }
    }

    async fn send(&mut self, known: &Known, change: Step) -> Result<(Option<SalesTransaction>, String), Status> {
        let transaction_id = known.id.clone();
        let etag = |etag: Etag| match etag {
            Etag::Right => format!("v{}", known.version),
            Etag::Wrong => format!("v{}", known.version + 1),
            Etag::Absent => String::new(),
        };
        let commands = &mut self.commands;
        Ok(match change {
            Step::Replace(_, asked, lines) => {
                let items = lines.into_iter().map(wire).collect();
                let transaction = SalesTransaction { transaction_id, etag: etag(asked), items, ..Default::default() };
                let asked = UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() };
                let answer = commands.update_transaction(asked).await?.into_inner();
                (answer.transaction, answer.consistency_token)
            }
            Step::AddItem(_, asked, line) => {
                let item = Some(wire(line));
                let asked = AddItemRequest { transaction_id, etag: etag(asked), item, ..Default::default() };
                let answer = commands.add_item(asked).await?.into_inner();
                (answer.transaction, answer.consistency_token)
            }
            Step::UpdateQuantity(_, item, quantity) => {
                let item_id = known.item_ids[item % known.item_ids.len()].clone();
                let item = Some(SalesItem { item_id, quantity, ..Default::default() });
                let asked = UpdateItemRequest { transaction_id, item, ..Default::default() };
                let answer = commands.update_item(asked).await?.into_inner();
                (answer.transaction, answer.consistency_token)
            }
            Step::DeleteItem(_, item) => {
                let item_id = known.item_ids[item % known.item_ids.len()].clone();
                let asked = DeleteItemRequest { transaction_id, item_id, ..Default::default() };
                let answer = commands.delete_item(asked).await?.into_inner();
                (answer.transaction, answer.consistency_token)
            }
            Step::Delete(_, asked) => {
                let asked = DeleteTransactionRequest { transaction_id, etag: etag(asked), ..Default::default() };
                (None, commands.delete_transaction(asked).await?.into_inner().consistency_token)
            }
            _ => unreachable!("no change of a stored sale"),
        })
    }

    /// Both databases end as the model says.
    async fn compare(&mut self) {
        let stored: i64 = sqlx::query_scalar("select count(*) from sales.sales_transaction where store_id = $1")
            .bind(self.store)
            .fetch_one(&mut self.tandem.primary().await)
            .await
            .unwrap();
        let alive = self.sales.iter().filter(|sale| sale.lines.is_some()).count();
        assert_eq!(stored, i64::try_from(alive).unwrap(), "no sale twice, none lost");
        let mut queries = self.tandem.queries();
        for known in &self.sales {
            let asked = GetTransactionRequest { transaction_id: known.id.clone(), consistency: after(&self.token) };
            match (queries.get_transaction(asked).await, &known.lines) {
                (Ok(found), Some(lines)) => {
                    let found = found.into_inner().transaction.unwrap();
                    assert_eq!((&lines_of(&found), found.etag), (lines, format!("v{}", known.version)));
                }
                (Err(status), None) => assert_eq!(status.code(), Code::NotFound),
                (found, lines) => panic!("the replica has {found:?}, the model {lines:?}"),
            }
        }
    }
}

/// What the sale's lines are after the change (`None`: it is gone), or the reason why it is refused.
fn expected(known: &Known, change: &Step) -> Result<Option<Vec<Line>>, &'static str> {
    let Some(mut lines) = known.lines.clone() else { return Err("NOT_FOUND") };
    match change {
        Step::Replace(_, Etag::Wrong, _) | Step::AddItem(_, Etag::Wrong, _) | Step::Delete(_, Etag::Wrong) => {
            return Err("ETAG_MISMATCH");
        }
        Step::Replace(_, _, new) => lines.clone_from(new),
        Step::AddItem(_, _, line) => lines.push(*line),
        Step::UpdateQuantity(_, item, to) => {
            let place = item % lines.len();
            let (quantity, price, discount) = &mut lines[place];
            if *discount > i64::from(*to) * *price {
                return Err("INVALID_FIELDS");
            }
            *quantity = *to;
        }
        Step::DeleteItem(..) if lines.len() == 1 => return Err("LAST_ITEM"),
        Step::DeleteItem(_, item) => drop(lines.remove(item % lines.len())),
        Step::Delete(..) => return Ok(None),
        _ => unreachable!("no change of a stored sale"),
    }
    Ok(Some(lines))
}

#[test]
fn whatever_callers_do_both_databases_end_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tandem = runtime.block_on(Tandem::shared());
    let cases = env::var("TANDEM_HISTORIES").map_or(HISTORIES, |asked| asked.parse().unwrap());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let histories = prop::collection::vec(step(), 1..16);
    runner
        .run(&histories, |steps| {
            runtime.block_on(async {
                let store = NEXT_STORE.fetch_add(1, Ordering::Relaxed);
                let commands = tandem.commands();
                let mut history = History { tandem, commands, store, sales: Vec::new(), token: String::new() };
                for step in steps {
                    history.play(step).await;
                }
                if !history.sales.is_empty() {
                    history.compare().await;
                }
            });
            Ok(())
        })
        .unwrap();
}
