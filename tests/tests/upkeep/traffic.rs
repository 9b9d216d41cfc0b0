//! Writers that write and a reader who counts, while something is done to the replica.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tandem_proto::sales::{
    command::v1::{DeleteTransactionRequest, UpdateItemRequest},
    query::v1::GetSummaryRequest,
    v1::SalesItem,
};
use tandem_tests::{Tandem, request};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};

/// Where each sale is one thing for one dollar, and stays.
const COUNTED: i32 = 21;
/// Where sales come, change and go.
const CHURNED: i32 = 22;

/// What a writer writes in: some 300 sales a second in all, which the databases of a busy machine keep up with.
pub fn pace() -> Interval {
    let mut pace = interval(std::time::Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Callers in the background. None of them may meet an error, or an answer that is not exact.
pub struct Traffic {
    callers: JoinSet<()>,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    sold: Arc<Mutex<(i64, String)>>,
}

impl Traffic {
    pub async fn start(tandem: &Tandem) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let first = super::sell(tandem, COUNTED, vec![request::item("UNIT", 1, "1.00")]).await;
        let before = summary(tandem, &first.consistency_token).await.transactions;
        let sold = Arc::new(Mutex::new((before, first.consistency_token)));
        let mut callers = JoinSet::new();
        callers.spawn(count(tandem.commands(), Arc::clone(&sold), Arc::clone(&over)));
        callers.spawn(churn(tandem.commands(), Arc::clone(&over)));
        callers.spawn(ask(tandem.queries(), Arc::clone(&sold), Arc::clone(&answers), Arc::clone(&over)));
        Self { callers, over, answers, sold }
    }

    /// Ends it, and fails the test if a caller met what it must not meet.
    pub async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
        assert!(self.answers.load(Ordering::Relaxed) > 0, "nobody was answered");
        assert!(self.sold.lock().unwrap().0 > 1, "nothing was sold");
    }
}

type Commands = tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient<
    tonic::transport::Channel,
>;
type Queries =
    tandem_proto::sales::query::v1::sales_query_service_client::SalesQueryServiceClient<tonic::transport::Channel>;

async fn count(mut commands: Commands, sold: Arc<Mutex<(i64, String)>>, over: Arc<AtomicBool>) {
    let mut pace = pace();
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let create = request::create(request::sale(COUNTED, vec![request::item("UNIT", 1, "1.00")]));
        let token = commands.create_transaction(create).await.unwrap().into_inner().consistency_token;
        let mut sold = sold.lock().unwrap();
        *sold = (sold.0 + 1, token);
    }
}

async fn churn(mut commands: Commands, over: Arc<AtomicBool>) {
    let mut pace = pace();
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let create = request::create(request::sale(CHURNED, vec![request::item("CHURN", 2, "3.00")]));
        let sale = commands.create_transaction(create).await.unwrap().into_inner().transaction.unwrap();
        let item = SalesItem { item_id: sale.items[0].item_id.clone(), ..request::item("CHURN", 5, "3.00") };
        let update = UpdateItemRequest {
            transaction_id: sale.transaction_id.clone(),
            item: Some(item),
            update_mask: Some(prost_types::FieldMask { paths: vec!["quantity".to_owned()] }),
            ..UpdateItemRequest::default()
        };
        commands.update_item(update).await.unwrap();
        if sale.transaction_id.ends_with(['0', '1', '2', '3']) {
            let transaction_id = sale.transaction_id;
            let delete = DeleteTransactionRequest { transaction_id, ..DeleteTransactionRequest::default() };
            commands.delete_transaction(delete).await.unwrap();
        }
    }
}

/// Each answer holds at least what was sold before it was asked for, and adds up.
async fn ask(queries: Queries, sold: Arc<Mutex<(i64, String)>>, answers: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let (before, token) = sold.lock().unwrap().clone();
        let summary = summary_of(queries.clone(), &token).await;
        assert!(summary.transactions >= before, "{} of {before} sales", summary.transactions);
        assert_eq!(summary.items_sold, summary.transactions, "each sale is one thing");
        assert_eq!(summary.revenue.unwrap().units, summary.transactions, "for one dollar");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

async fn summary(tandem: &Tandem, token: &str) -> tandem_proto::sales::query::v1::GetSummaryResponse {
    summary_of(tandem.queries(), token).await
}

async fn summary_of(mut queries: Queries, token: &str) -> tandem_proto::sales::query::v1::GetSummaryResponse {
    let asked = GetSummaryRequest {
        filter: request::in_store(COUNTED),
        consistency: request::after(token),
        ..GetSummaryRequest::default()
    };
    let asked = request::within(asked, std::time::Duration::from_secs(60));
    queries.get_summary(asked).await.unwrap().into_inner()
}
