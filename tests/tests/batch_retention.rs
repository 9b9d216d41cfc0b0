//! Batches that are old enough are removed on both sides, and no other one is.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use sqlx::PgConnection;
use tandem_tests::{Tandem, database::until, program::Program};
use xtask::service::Service;

/// Batches as they are left behind: an age in hours since the end (none: still written) for each of both tables, and parts. The
/// large one has more parts than one portion takes.
const PLANTED: &str = "
    insert into tandem.batch_control (
        batch_id, schema_name, table_name, status, started_at, ended_at, lsn, system_identifier, timeline, row_count, error
    )
    select batch_id, 'sales', table_name, case when hours is null then 'IN_PROGRESS' else 'FAILED' end,
        now() - interval '100 days', now() - make_interval(hours => hours), '0/1', 1, 1, 0,
        case when hours is not null then 'as planted' end
    from (
        values ('old', 3, 3), ('large', 4, 4), ('young', 1, 1), ('half', null, 3), ('half-young', 3, 1), ('open', null, null),
            ('01234567-0000-7000-8000-000000000000', 3, 3), ('01234567-0000-7000-8000-000000000001', 3, 3)
    ) as planted (batch_id, of_items, of_sales)
    cross join lateral (values ('sales_item', of_items), ('sales_transaction', of_sales)) as side (table_name, hours);
    insert into tandem.batch_part (batch_id, part, transaction_ids)
    select batch_id, part, array[gen_random_uuid()]
    from (select distinct batch_id from tandem.batch_control) as batch
    cross join generate_series(1, case batch_id when 'large' then 450 else 2 end) as part;
    insert into tandem.import (
        import_id, all_or_nothing, stream, last_row_number, rows_written, items_written, rows_refused, total_amount,
        total_discount, content_hash, moved_at, is_complete
    )
    values (
        '01234567-0000-7000-8000-000000000001', false, 1, 0, 0, 0, 0, 0, 0, sha256('none'), now(), false
    )";

/// Those that stay: the import's can still be resumed.
const KEPT: [&str; 5] = ["01234567-0000-7000-8000-000000000001", "half", "half-young", "open", "young"];

async fn left(connection: &mut PgConnection, table: &str) -> Vec<(String, i64)> {
    let sql = format!("select batch_id, count(*) from {table} group by batch_id order by batch_id collate \"C\"");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn batches_that_ended_long_ago_go_on_both_sides_and_those_that_are_written_or_resumable_stay() {
    let tandem = Tandem::shared().await;
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    sqlx::raw_sql(PLANTED).execute(&mut primary).await.unwrap();
    let there = "select count(*) = 16 from tandem.batch_control";
    until(&mut replica, "the replica has them", there).await;
    let further = [("TANDEM_BATCH_RETENTION", "2h"), ("TANDEM_INSTANCE_NAME", "removes")];
    let service = Program::start(&tandem.pair, Service::Command, &further).await.unwrap();
    let gone = "select count(*) = 10 from tandem.batch_control";
    until(&mut primary, "the old ones go", gone).await;
    until(&mut replica, "they go on the replica", gone).await;
    let kept = KEPT.map(|batch_id| (batch_id.to_owned(), 2));
    assert_eq!(left(&mut primary, "tandem.batch_control").await, kept);
    assert_eq!(left(&mut primary, "tandem.batch_part").await, kept, "no part is left behind");
    assert_eq!(left(&mut replica, "tandem.batch_control").await, kept);
    service.kill().await.unwrap();
}
