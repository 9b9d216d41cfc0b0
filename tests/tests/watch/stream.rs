//! A watcher, and what it knows of the sales: exactly what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::{PgConnection, Row as _};
use tandem_proto::sales::{
    query::v1::{
        ChangeKind, TransactionFilter, WatchTransactionsRequest, WatchTransactionsResponse,
        sales_query_service_client::SalesQueryServiceClient, watch_transactions_response::Message,
    },
    v1::SalesTransaction,
};
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

/// Far more than any message takes to come: a heartbeat comes after 5 seconds at the latest.
const PATIENCE: Duration = Duration::from_secs(30);

/// One stream, and the token of its last message.
pub struct Stream {
    messages: Streaming<WatchTransactionsResponse>,
    /// Where it can be resumed.
    pub token: String,
}

impl Stream {
    /// Begins or resumes one; it has begun when this returns.
    pub async fn open(
        mut client: SalesQueryServiceClient<Channel>,
        filter: Option<TransactionFilter>,
        resume_token: &str,
    ) -> Result<Self, Status> {
        let resume_token = resume_token.to_owned();
        let opened = client.watch_transactions(WatchTransactionsRequest { filter, resume_token }).await?;
        let mut stream = Self { messages: opened.into_inner(), token: String::new() };
        let first = stream.message().await?;
        assert!(matches!(first, Message::Heartbeat(_)), "{first:?}");
        Ok(stream)
    }

    /// The next message, whatever it is.
    pub async fn message(&mut self) -> Result<Message, Status> {
        let next = timeout(PATIENCE, self.messages.message()).await.expect("a message comes");
        let response = next?.expect("a stream ends with an error only");
        assert_eq!(response.replica_name, "replica-1");
        assert_eq!(response.resume_token.len(), 64);
        self.token = response.resume_token;
        Ok(response.message.expect("a message says something"))
    }

    /// The next change.
    pub async fn change(&mut self) -> Result<(ChangeKind, SalesTransaction), Status> {
        loop {
            if let Message::Change(change) = self.message().await? {
                return Ok((change.kind(), change.transaction.expect("a change is of a sale")));
            }
        }
    }
}

/// What is compared of a sale: header, and items by id.
pub type Known = (i32, String, i64, BTreeSet<(String, String, i32)>);

/// Sales by id, as a watcher knows them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mirror(pub BTreeMap<String, Known>);

impl Mirror {
    /// Takes a change in; one that does not follow from what is known is a gap or a double.
    pub fn take(&mut self, kind: ChangeKind, sale: SalesTransaction) {
        let id = sale.transaction_id.clone();
        let now = known(sale);
        match kind {
            ChangeKind::Created | ChangeKind::Entered => {
                assert_eq!(self.0.insert(id.clone(), now), None, "{kind:?} {id} is told twice");
            }
            ChangeKind::Updated => {
                let before = self.0.insert(id.clone(), now);
                assert!(before.is_some(), "{id} is updated, and its creation was not told");
            }
            ChangeKind::Deleted | ChangeKind::Left => {
                assert_eq!(self.0.remove(&id), Some(now), "{kind:?} {id}: it is told as it was last");
            }
            ChangeKind::Unspecified => panic!("a change has a kind"),
        }
    }

    /// What the replica has.
    pub async fn of(replica: &mut PgConnection) -> Self {
        let rows = sqlx::query(
            "select transaction_id::text, store_id, payment_method, (total_amount * 100)::bigint as cents,
                coalesce((
                    select array_agg(item_id::text || ' ' || product_code || ' ' || quantity order by item_id)
                    from sales.sales_item as item where item.transaction_id = sale.transaction_id
                ), '{}') as items
            from sales.sales_transaction as sale",
        )
        .fetch_all(replica)
        .await
        .unwrap();
        Self(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3), items(row.get(4))))).collect())
    }
}

fn items(rows: Vec<String>) -> BTreeSet<(String, String, i32)> {
    let item = |row: String| {
        let mut parts = row.splitn(3, ' ').map(str::to_owned);
        let (id, product) = (parts.next().unwrap(), parts.next().unwrap());
        (id, product, parts.next().unwrap().parse().unwrap())
    };
    rows.into_iter().map(item).collect()
}

fn known(sale: SalesTransaction) -> Known {
    let amount = sale.total_amount.unwrap();
    let cents = amount.units * 100 + i64::from(amount.nanos / 10_000_000);
    let items = sale.items.into_iter().map(|item| (item.item_id, item.product_code, item.quantity)).collect();
    (sale.store_id, sale.payment_method, cents, items)
}
