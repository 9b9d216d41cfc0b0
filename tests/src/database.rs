//! Waiting for what the databases show of a test's work.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::{Instant, sleep};

/// How long anything here may take: far more than it does, also on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between looks: about what one look costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Waits until a question, asked again and again, is answered with yes. `what` completes "waited in vain until …".
pub async fn until(connection: &mut PgConnection, what: &str, question: &'static str) {
    let deadline = Instant::now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(question).fetch_one(&mut *connection).await.expect("a question of the test") {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Waits until a statement of the command service waits for a lock that somebody else holds.
pub async fn until_command_waits_for_a_lock(admin: &mut PgConnection) {
    let question = "select exists (
        select from pg_stat_activity where usename = 'tandem_command' and wait_event_type = 'Lock'
    )";
    until(admin, "the command service waits for a lock", question).await;
}

/// Waits until no transaction of the command service is open. One that was left open by mistake is open for ever.
pub async fn until_command_is_at_rest(admin: &mut PgConnection) {
    let question = "select not exists (
        select from pg_stat_activity where usename = 'tandem_command' and xact_start is not null
    )";
    until(admin, "no transaction of the command service is open", question).await;
}

/// Stops replication as an administrator of any replica would, and waits until it stands still.
pub async fn disable_subscription(replica: &mut PgConnection) {
    alter_subscription(replica, "disable").await;
    let question = "select not exists (select from pg_stat_subscription where pid is not null)";
    until(replica, "the apply worker has ended", question).await;
}

/// Starts replication again; does not wait.
pub async fn enable_subscription(replica: &mut PgConnection) {
    alter_subscription(replica, "enable").await;
}

/// Of the one subscription that a replica has, whatever its name.
async fn alter_subscription(replica: &mut PgConnection, what: &str) {
    let question = "select format('alter subscription %I ', subname) from pg_subscription";
    let alter: String = sqlx::query_scalar(question).fetch_one(&mut *replica).await.expect("a replica has one");
    sqlx::query(AssertSqlSafe(alter + what)).execute(replica).await.expect("an admin may");
}
