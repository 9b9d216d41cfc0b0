//! A replica takes its primary's place: nothing that was acknowledged is lost, and nothing is done twice.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

mod catalog;
mod cut_off;
mod on_this_machine;
mod under_traffic;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tandem_tests::Tandem;
use tandem_upkeep::Addresses;

fn addresses(tandem: &Tandem) -> Addresses {
    Addresses {
        primary_url: tandem.pair.primary().admin_url(),
        replica_url: tandem.pair.replica().admin_url(),
        subscription: "tandem_subscription".to_owned(),
    }
}

async fn run(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

async fn count(connection: &mut PgConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

const SLOTS: &str = "select count(*) from pg_replication_slots";
