//! What is asked for, and whether it is there.

use std::sync::atomic::{AtomicI32, Ordering};

use sqlx::PgConnection;
use tandem_proto::sales::{
    command::v1::{
        BatchCreateTransactionsRequest, CreateTransactionRequest, UpdateTransactionRequest,
        sales_command_service_client::SalesCommandServiceClient,
    },
    v1::{SalesItem, SalesTransaction},
};
use tandem_tests::{
    Tandem,
    request::{create, item, sale},
};
use tonic::{Status, metadata::MetadataMap, transport::Channel};
use uuid::Uuid;

/// Sales of a batch.
const IN_A_BATCH: i64 = 3;

/// A write with a request id, to a store of its own.
#[derive(Clone, Debug)]
pub enum Write {
    Create(CreateTransactionRequest),
    Batch(BatchCreateTransactionsRequest),
    /// Gives a stored sale another store and a third item.
    Update(UpdateTransactionRequest),
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// Whether the service says that it is the first try's answer.
    pub replayed: bool,
    pub sales: Vec<SalesTransaction>,
}

fn new_store() -> i32 {
    static STORES: AtomicI32 = AtomicI32::new(1);
    STORES.fetch_add(1, Ordering::Relaxed)
}

fn items(count: usize) -> Vec<SalesItem> {
    vec![item("A", 1, "1.50"); count]
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

impl Write {
    pub fn create() -> Self {
        Self::Create(CreateTransactionRequest { request_id: new_id(), ..create(sale(new_store(), items(2))) })
    }

    pub fn batch() -> Self {
        let store = new_store();
        let transactions = (0..IN_A_BATCH).map(|_| sale(store, items(2))).collect();
        Self::Batch(BatchCreateTransactionsRequest { transactions, request_id: new_id(), validate_only: false })
    }

    /// Of a new sale, which is stored.
    pub async fn update(tandem: &Tandem) -> Self {
        let stored = tandem.commands().create_transaction(create(sale(new_store(), items(2)))).await.unwrap();
        let transaction_id = stored.into_inner().transaction.unwrap().transaction_id;
        let transaction =
            SalesTransaction { transaction_id, store_id: new_store(), items: items(3), ..SalesTransaction::default() };
        let transaction = Some(transaction);
        Self::Update(UpdateTransactionRequest { transaction, request_id: new_id(), ..Default::default() })
    }

    /// The same, but only validated.
    pub fn rehearsed(&self) -> Self {
        let mut rehearsed = self.clone();
        match &mut rehearsed {
            Self::Create(asked) => asked.validate_only = true,
            Self::Batch(asked) => asked.validate_only = true,
            Self::Update(asked) => asked.validate_only = true,
        }
        rehearsed
    }

    pub async fn send(self, mut commands: SalesCommandServiceClient<Channel>) -> Result<Answered, Status> {
        let replayed = |metadata: &MetadataMap| metadata.get("tandem-replayed").is_some_and(|said| said == "true");
        Ok(match self {
            Self::Create(asked) => {
                let answer = commands.create_transaction(asked).await?;
                let replayed = replayed(answer.metadata());
                Answered { replayed, sales: answer.into_inner().transaction.into_iter().collect() }
            }
            Self::Batch(asked) => {
                let answer = commands.batch_create_transactions(asked).await?;
                Answered { replayed: replayed(answer.metadata()), sales: answer.into_inner().transactions }
            }
            Self::Update(asked) => {
                let answer = commands.update_transaction(asked).await?;
                let replayed = replayed(answer.metadata());
                Answered { replayed, sales: answer.into_inner().transaction.into_iter().collect() }
            }
        })
    }

    /// Whether the write is there, once. Fails when a part of it is, or when its request id says otherwise.
    pub async fn is_there(&self, primary: &mut PgConnection) -> bool {
        let (request_id, transaction, sales, items, version) = match self {
            Self::Create(asked) => (&asked.request_id, asked.transaction.as_ref(), 1, 2, 1),
            Self::Batch(asked) => (&asked.request_id, asked.transactions.first(), IN_A_BATCH, 6, 1),
            Self::Update(asked) => (&asked.request_id, asked.transaction.as_ref(), 1, 3, 2),
        };
        let transaction = transaction.unwrap();
        // The sale that an update has not found its way to has still its two items and its first version.
        let sql = "
            select count(*) filter (where sale.store_id = $1),
                count(*) filter (where sale.store_id = $1 and sale.version = $3),
                coalesce(sum(item.items) filter (where sale.store_id = $1), 0)::int8,
                coalesce(bool_and(sale.total_amount = item.amount), true),
                coalesce(bool_and(item.items = 2 and sale.version = 1) filter (where sale.store_id <> $1), true),
                (select count(*) from tandem.request_id where request_id = $4)
            from sales.sales_transaction as sale
            left join (
                select transaction_id, count(*) as items, sum(total_price) as amount
                from sales.sales_item group by transaction_id
            ) as item using (transaction_id)
            where sale.store_id = $1 or sale.transaction_id = $2
        ";
        let found: (i64, i64, i64, bool, bool, i64) = sqlx::query_as(sql)
            .bind(transaction.store_id)
            .bind(transaction.transaction_id.parse::<Uuid>().unwrap_or_default())
            .bind(version)
            .bind(request_id.parse::<Uuid>().unwrap())
            .fetch_one(primary)
            .await
            .unwrap();
        if found == (0, 0, 0, true, true, 0) {
            return false;
        }
        assert_eq!(found, (sales, sales, items, true, true, 1), "a part of {self:?}");
        true
    }
}
