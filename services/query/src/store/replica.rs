//! The replica, as this service uses it: each question is answered from one snapshot.

use futures::{FutureExt as _, future::BoxFuture};
use sqlx::PgConnection;
use tandem_chassis::{
    database::{Database, DatabaseError},
    deadline::Deadline,
};
use tandem_replication::{Position, Subscription};
use uuid::Uuid;

use super::{
    batch, figures,
    fold::{Backlog, MAX_CHANGED},
    product_labels,
    replication::{self, Applied},
    sale,
};
use crate::domain::{
    Batch, BatchPage, Cell, FiguresQuestion, Page, Product, Range, Ranking, Sale, SalesPage, TransactionFilter,
    best_products,
};

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
        let subscription = self.subscription.clone();
        self.database
            .ask(deadline, move |connection| {
                let subscription = subscription.clone();
                async move { sale::find(connection, transaction_id, &subscription).await }.boxed()
            })
            .await
            .map(|(answer, covered)| Answered { answer, covered })
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

    /// Figures by step and group, in no order.
    pub async fn figures(&self, question: FiguresQuestion, deadline: Deadline) -> Result<Vec<Cell>> {
        ask!(self, deadline, connection => figures::of(connection, &question))
    }

    /// The products that sold best, best first, out of figures that are grouped by product.
    pub async fn top_products(
        &self,
        question: FiguresQuestion,
        ranking: Ranking,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Product>> {
        ask!(self, deadline, connection => async {
            let best = best_products(figures::of(&mut *connection, &question).await?, ranking, limit);
            let codes: Vec<_> = best.iter().map(|(product_code, _)| product_code.clone()).collect();
            let labels = product_labels::of(&mut *connection, &codes).await?;
            Ok::<_, sqlx::Error>(Product::labelled(best, labels))
        })
    }

    /// The batches of a page, those that began last first; one more than asked for, where there is one.
    pub async fn batch_page(&self, page: BatchPage, deadline: Deadline) -> Result<Vec<Batch>> {
        ask!(self, deadline, connection => batch::page(connection, &page))
    }

    /// Those of these batches that there are, by their ids.
    pub async fn batches(&self, batch_ids: Vec<String>, deadline: Deadline) -> Result<Vec<Batch>> {
        ask!(self, deadline, connection => batch::of(connection, &batch_ids))
    }

    /// Runs a question that says itself what its snapshot shows.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        deadline: Deadline,
        question: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, std::result::Result<T, DatabaseError>>
        + Send
        + 'static,
    ) -> std::result::Result<T, DatabaseError> {
        self.database.read(deadline, question).await
    }

    /// How far the replica is now.
    pub async fn applied(&self, deadline: Deadline) -> std::result::Result<Applied, DatabaseError> {
        let subscription = self.subscription.clone();
        self.database
            .ask(deadline, move |connection| {
                let subscription = subscription.clone();
                async move { replication::applied(connection, &subscription).await }.boxed()
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

    /// How far the rollups are behind. Looks at the sales, and so waits for whoever locks them.
    pub async fn backlog(&self, deadline: Deadline) -> std::result::Result<Backlog, DatabaseError> {
        self.database
            .read(deadline, |connection| async move { Ok(Backlog::current(connection, MAX_CHANGED).await?) }.boxed())
            .await
    }
}
