//! Moments of a write, and how it is held there: by the service at a failpoint, by the database elsewhere.

use sqlx::{Executor as _, PgConnection};
use tandem_command::failpoint::{Failpoint, Hold};
use tandem_tests::{
    Tandem,
    database::{until, until_command_waits_for_a_lock},
};

/// A moment of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// At a failpoint of the service.
    At(Failpoint),
    /// The database waits for a lock in the middle of a statement.
    InStatement,
    /// The database has got the COMMIT, or the end of a statement that commits by itself, and does not confirm it.
    AtCommit,
}

/// What holds whoever comes to a moment.
pub enum Held {
    At(Hold),
    InStatement(PgConnection),
    AtCommit(PgConnection),
}

impl Moment {
    /// Holds whoever comes to this moment from now on; of failpoints, in this process.
    pub async fn hold(self, tandem: &Tandem) -> Held {
        let mut admin = tandem.primary().await;
        match self {
            Self::At(failpoint) => Held::At(Hold::at(failpoint)),
            Self::InStatement => {
                admin.execute("begin; lock table sales.sales_transaction in exclusive mode").await.unwrap();
                Held::InStatement(admin)
            }
            Self::AtCommit => {
                // Commits wait for a standby that does not exist.
                admin.execute("alter system set synchronous_standby_names = 'nobody'").await.unwrap();
                admin.execute("select pg_reload_conf()").await.unwrap();
                // The setting takes its time; the heartbeat shows when it is there.
                let question = "select exists (
                    select from pg_stat_activity
                    where application_name = 'tandem-command-housekeeping' and wait_event = 'SyncRep'
                )";
                until(&mut admin, "commits are held", question).await;
                Held::AtCommit(admin)
            }
        }
    }
}

impl Held {
    /// Waits until somebody stands there.
    pub async fn reached(&self, watcher: &mut PgConnection) {
        match self {
            Self::At(hold) => hold.reached().await,
            Self::InStatement(_) => until_command_waits_for_a_lock(watcher).await,
            Self::AtCommit(_) => {
                let question = "select exists (
                    select from pg_stat_activity
                    where application_name = 'tandem-command' and wait_event = 'SyncRep'
                )";
                until(watcher, "a write stands at its commit", question).await;
            }
        }
    }

    /// Lets everybody go on.
    pub async fn release(self) {
        match self {
            Self::At(hold) => drop(hold),
            Self::InStatement(mut admin) => drop(admin.execute("rollback").await.unwrap()),
            Self::AtCommit(mut admin) => confirm_commits(&mut admin).await,
        }
    }
}

/// Lets commits wait for no standby, as it is usual.
pub async fn confirm_commits(admin: &mut PgConnection) {
    admin.execute("alter system reset synchronous_standby_names").await.unwrap();
    admin.execute("select pg_reload_conf()").await.unwrap();
}
