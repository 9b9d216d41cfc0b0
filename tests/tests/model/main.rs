//! A model of the command service: whatever callers do, in whatever order, the primary and the replica end as the model
//! says.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod asked;

use std::{env, sync::atomic::AtomicI32, sync::atomic::Ordering, time::Duration};

use asked::{Answer, Asked};
use proptest::{prelude::*, test_runner::Config, test_runner::TestRunner};
use rust_decimal::Decimal;
use tandem_proto::sales::{
    command::v1::{
        AddItemRequest, DeleteItemRequest, DeleteTransactionRequest, UpdateItemRequest, UpdateTransactionRequest,
        sales_command_service_client::SalesCommandServiceClient,
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

/// More versions than a history makes.
const NEVER_REACHED: i64 = 1_000;

/// One store for each history, so that its sales can be told from all others.
static NEXT_STORE: AtomicI32 = AtomicI32::new(1_000_000);

/// A line, in cents.
type Line = (i32, i64, i64);

#[derive(Clone, Copy, Debug)]
enum Etag {
    Right,
    /// Of no version that the sale will ever have.
    Wrong,
    Absent,
}

/// How a command is sent.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Without a request id.
    Plain,
    /// With a request id.
    Named,
    /// With a request id; the caller stops waiting after so many microseconds, and tries again with the same id.
    Cancelled(u64),
}

/// A command. Numbers choose among what is there, modulo how much there is.
#[derive(Clone, Debug)]
enum Change {
    Create(Vec<Line>),
    Replace(usize, Etag, Vec<Line>),
    AddItem(usize, Etag, Line),
    UpdateQuantity(usize, usize, i32),
    DeleteItem(usize, usize),
    Delete(usize, Etag),
}

/// What one caller does.
#[derive(Clone, Debug)]
enum Step {
    Command(Change, Manner),
    /// Sends an earlier command that had a request id once more.
    Retry(usize),
    /// Sends another command with an earlier one's request id.
    AlteredRetry(usize),
}

fn line() -> impl Strategy<Value = Line> {
    (1..20, 0..5_000_i64)
        .prop_flat_map(|(quantity, price)| (Just(quantity), Just(price), 0..=(i64::from(quantity) * price).min(300)))
}

fn change() -> impl Strategy<Value = Change> {
    let lines = || prop::collection::vec(line(), 1..4);
    let etag = || prop_oneof![Just(Etag::Right), Just(Etag::Wrong), Just(Etag::Absent)];
    let number = any::<usize>;
    prop_oneof![
        4 => lines().prop_map(Change::Create),
        2 => (number(), etag(), lines()).prop_map(|(sale, etag, lines)| Change::Replace(sale, etag, lines)),
        2 => (number(), etag(), line()).prop_map(|(sale, etag, line)| Change::AddItem(sale, etag, line)),
        1 => (number(), number(), 1..50).prop_map(|(sale, item, to)| Change::UpdateQuantity(sale, item, to)),
        1 => (number(), number()).prop_map(|(sale, item)| Change::DeleteItem(sale, item)),
        1 => (number(), etag()).prop_map(|(sale, etag)| Change::Delete(sale, etag)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let manner = prop_oneof![
        2 => Just(Manner::Plain),
        2 => Just(Manner::Named),
        1 => (0..4_000_u64).prop_map(Manner::Cancelled),
    ];
    prop_oneof![
        8 => (change(), manner).prop_map(|(change, manner)| Step::Command(change, manner)),
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
}

struct History<'a> {
    tandem: &'a Tandem,
    commands: SalesCommandServiceClient<Channel>,
    store: i32,
    sales: Vec<Known>,
    /// Commands that had a request id and were carried out, with their first answers.
    done: Vec<(Asked, Answer)>,
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
            Step::Command(change, manner) => self.command(&change, manner).await,
            Step::Retry(number) => self.retry(number).await,
            Step::AlteredRetry(number) => {
                let Some((asked, _)) = choose(&self.done, number) else { return };
                let status = asked.clone().altered().send(self.commands.clone()).await.unwrap_err();
                assert_eq!(reason(&status), "REQUEST_ID_REUSED");
            }
        }
    }

    async fn command(&mut self, change: &Change, manner: Manner) {
        let place = match change {
            Change::Create(_) => None,
            Change::Replace(number, ..)
            | Change::AddItem(number, ..)
            | Change::UpdateQuantity(number, ..)
            | Change::DeleteItem(number, ..)
            | Change::Delete(number, ..) => match self.sales.len() {
                0 => return,
                sales => Some(number % sales),
            },
        };
        let known = place.map(|place| &self.sales[place]);
        let expected = known.map_or_else(|| Ok(created(change)), |known| expected(known, change));
        let asked = known.map_or_else(|| new_sale(self.store, change), |known| request(known, change));
        let answer = self.send(&asked, manner, &expected).await;
        match (expected, answer) {
            (Ok(lines), Ok(answer)) => self.remember(place, lines, answer),
            (Err(expected), Err(status)) => assert_eq!(reason(&status), expected),
            (expected, answer) => panic!("{asked:?}: expected {expected:?}, got {answer:?}"),
        }
    }

    async fn send(&mut self, asked: &Asked, manner: Manner, expected: &Expected) -> Result<Answer, Status> {
        if matches!(manner, Manner::Plain) {
            return asked.clone().send(self.commands.clone()).await;
        }
        let asked = asked.clone().named(Uuid::now_v7().to_string());
        match manner {
            // A first try that comes late would find an item to delete once another was added.
            Manner::Cancelled(patience) if *expected != Err("LAST_ITEM") => {
                let call = asked.clone().send(self.commands.clone());
                // Either it is answered in time, or nobody knows: the next try must find out.
                let _ = tokio::time::timeout(Duration::from_micros(patience), call).await;
            }
            _ => {}
        }
        let answer = asked.clone().send(self.commands.clone()).await?;
        assert!(matches!(manner, Manner::Cancelled(_)) || !answer.replayed, "it was never sent before");
        self.done.push((asked, answer.clone()));
        Ok(answer)
    }

    /// Takes over what a command has done.
    fn remember(&mut self, place: Option<usize>, lines: Option<Vec<Line>>, answer: Answer) {
        let version = place.map_or(1, |place| self.sales[place].version + 1);
        let mut now = Known { id: String::new(), version, lines, item_ids: Vec::new() };
        assert_eq!(answer.sale.is_some(), now.lines.is_some(), "only a deleted sale is not shown");
        if let (Some(lines), Some(sale)) = (&now.lines, answer.sale) {
            assert_eq!((&lines_of(&sale), sale.etag), (lines, format!("v{version}")));
            now.item_ids = sale.items.into_iter().map(|item| item.item_id).collect();
            now.id = sale.transaction_id;
        }
        match place {
            None => self.sales.push(now),
            Some(place) => {
                now.id.clone_from(&self.sales[place].id);
                self.sales[place] = now;
            }
        }
        self.token = answer.token;
    }

    async fn retry(&mut self, number: usize) {
        let Some((asked, first)) = choose(&self.done, number) else { return };
        let answer = asked.clone().send(self.commands.clone()).await.unwrap();
        assert!(answer.replayed, "{asked:?}");
        assert_eq!(answer.sale, first.sale, "the first answer, whatever has happened since");
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

fn choose<T>(among: &[T], number: usize) -> Option<&T> {
    (!among.is_empty()).then(|| &among[number % among.len()])
}

fn new_sale(store: i32, change: &Change) -> Asked {
    let lines = created(change).unwrap_or_default();
    Asked::Create(create(sale(store, lines.into_iter().map(wire).collect())))
}

/// The request for a change of a stored sale.
fn request(known: &Known, change: &Change) -> Asked {
    let transaction_id = known.id.clone();
    let etag = |etag: &Etag| match etag {
        Etag::Right => format!("v{}", known.version),
        Etag::Wrong => format!("v{}", known.version + NEVER_REACHED),
        Etag::Absent => String::new(),
    };
    // A sale that is gone has none any more.
    let item_id = |number: usize| choose(&known.item_ids, number).cloned().unwrap_or_else(|| Uuid::nil().to_string());
    match change {
        Change::Create(_) => unreachable!("no change of a stored sale"),
        Change::Replace(_, asked, lines) => {
            let items = lines.iter().copied().map(wire).collect();
            let transaction = SalesTransaction { transaction_id, etag: etag(asked), items, ..Default::default() };
            Asked::Update(UpdateTransactionRequest { transaction: Some(transaction), ..Default::default() })
        }
        Change::AddItem(_, asked, line) => {
            let item = Some(wire(*line));
            Asked::AddItem(AddItemRequest { transaction_id, etag: etag(asked), item, ..Default::default() })
        }
        Change::UpdateQuantity(_, item, quantity) => {
            let item = Some(SalesItem { item_id: item_id(*item), quantity: *quantity, ..Default::default() });
            Asked::UpdateItem(UpdateItemRequest { transaction_id, item, ..Default::default() })
        }
        Change::DeleteItem(_, item) => {
            let item_id = item_id(*item);
            Asked::DeleteItem(DeleteItemRequest { transaction_id, item_id, ..Default::default() })
        }
        Change::Delete(_, asked) => {
            Asked::Delete(DeleteTransactionRequest { transaction_id, etag: etag(asked), ..Default::default() })
        }
    }
}

/// What a sale's lines are after a change (`None`: it is gone), or the reason why it is refused.
type Expected = Result<Option<Vec<Line>>, &'static str>;

/// The lines of a new sale.
fn created(change: &Change) -> Option<Vec<Line>> {
    match change {
        Change::Create(lines) => Some(lines.clone()),
        _ => None,
    }
}

fn expected(known: &Known, change: &Change) -> Expected {
    let Some(mut lines) = known.lines.clone() else { return Err("NOT_FOUND") };
    match change {
        Change::Replace(_, Etag::Wrong, _) | Change::AddItem(_, Etag::Wrong, _) | Change::Delete(_, Etag::Wrong) => {
            return Err("ETAG_MISMATCH");
        }
        Change::Create(new) | Change::Replace(_, _, new) => lines.clone_from(new),
        Change::AddItem(_, _, line) => lines.push(*line),
        Change::UpdateQuantity(_, item, to) => {
            let place = item % lines.len();
            let (quantity, price, discount) = &mut lines[place];
            if *discount > i64::from(*to) * *price {
                return Err("INVALID_FIELDS");
            }
            *quantity = *to;
        }
        Change::DeleteItem(..) if lines.len() == 1 => return Err("LAST_ITEM"),
        Change::DeleteItem(_, item) => drop(lines.remove(item % lines.len())),
        Change::Delete(..) => return Ok(None),
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
                let (commands, token) = (tandem.commands(), String::new());
                let mut history = History { tandem, commands, store, sales: Vec::new(), done: Vec::new(), token };
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
