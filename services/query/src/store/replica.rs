//! The replica, as this service uses it: each question is answered from one snapshot.

use futures::FutureExt as _;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{Position, Subscription};
use uuid::Uuid;

use super::{
    replication::{self, Applied},
    sale, series, summary, top_products,
};
use crate::domain::{Page, Point, Product, Range, Ranking, Sale, SalesFilter, SalesPage, Summary, TransactionFilter};

/// The replica's database.
#[derive(Clone)]
pub struct Replica {
    database: Database,
    subscription: String,
}

/// An answer, and a position that nothing in it lies behind.
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// Asked after the answer, in its own transaction; `None` before the first watermark and while tables are copied.
    pub covered: Option<Position>,
}

/// Runs a question in one snapshot, then asks what that snapshot may show.
macro_rules! ask {
    ($self:ident, $deadline:ident, $connection:ident => $question:expr) => {{
        let subscription = $self.subscription.clone();
        $self
            .database
            .read($deadline, move |$connection| {
                async move {
                    let answer = $question.await?;
                    let covered = replication::covered($connection, &subscription).await?;
                    Ok::<_, DatabaseError>(Answered { answer, covered })
                }
                .boxed()
            })
            .await
    }};
}

type Result<T> = std::result::Result<Answered<T>, DatabaseError>;

impl Replica {
    /// Reads `database`, which `subscription` feeds.
    pub const fn new(database: Database, subscription: String) -> Self {
        Self { database, subscription }
    }

    /// One sale; `None` where there is none.
    pub async fn sale(&self, transaction_id: Uuid, deadline: Deadline) -> Result<Option<Sale>> {
        ask!(self, deadline, connection => sale::find(connection, transaction_id))
    }

    /// The sales of a page: newest first.
    pub async fn sales(
        &self,
        range: Option<Range>,
        filter: TransactionFilter,
        page: Page,
        deadline: Deadline,
    ) -> Result<SalesPage> {
        ask!(self, deadline, connection => sale::page(connection, range, &filter, &page))
    }

    /// Key figures of a range.
    pub async fn summary(&self, range: Range, filter: SalesFilter, deadline: Deadline) -> Result<Summary> {
        ask!(self, deadline, connection => summary::of(connection, range, &filter))
    }

    /// Key figures of a range, day by day, without gaps.
    pub async fn daily(&self, range: Range, filter: SalesFilter, deadline: Deadline) -> Result<Vec<Point>> {
        ask!(self, deadline, connection => series::daily(connection, range, &filter))
    }

    /// The products that sold best, best first.
    pub async fn top_products(
        &self,
        range: Range,
        filter: SalesFilter,
        ranking: Ranking,
        limit: i32,
        deadline: Deadline,
    ) -> Result<Vec<Product>> {
        ask!(self, deadline, connection => top_products::of(connection, range, &filter, ranking, limit))
    }

    /// How far the replica is now.
    pub async fn applied(&self, deadline: Deadline) -> std::result::Result<Applied, DatabaseError> {
        let subscription = self.subscription.clone();
        self.database
            .read(deadline, move |connection| {
                async move { Ok(replication::applied(connection, &subscription).await?) }.boxed()
            })
            .await
    }

    /// How far the replica is now, and its subscription; `None` where there is none.
    pub async fn status(
        &self,
        deadline: Deadline,
    ) -> std::result::Result<(Applied, Option<Subscription>), DatabaseError> {
        let subscription = self.subscription.clone();
        self.database
            .read(deadline, move |connection| {
                async move {
                    let applied = replication::applied(&mut *connection, &subscription).await?;
                    Ok((applied, Subscription::find(connection, &subscription).await?))
                }
                .boxed()
            })
            .await
    }
}
