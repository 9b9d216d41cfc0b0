//! The comparison from end to end.

use std::time::Duration;

use futures::future::{Either, select, try_join, try_join4};
use tandem_chassis::shutdown::Shutdown;
use tokio::time::{Instant, timeout};

use crate::batch;
use crate::catch_up;
use crate::connect::{Database, Deadline};
use crate::course::Course;
use crate::error::{CheckError, Side};
use crate::fence::Fences;
use crate::hashing;
use crate::leftover::{self, Leftover};
use crate::options::Options;
use crate::phase::{Observe, Phase};
use crate::published::{self, PublishedTable};
use crate::readers::Readers;
use crate::report::Report;
use crate::rollups::{self, RollupReport};
use crate::scan::Sides;
use crate::slot::TemporarySlot;

/// How long taking the slot away may take when a check has failed; the server needs milliseconds.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(5);

/// Compares every published table of two databases.
///
/// The URLs are those of a role that may read all published tables and the catalogues on both sides, may make a
/// replication slot on the primary, and may call `pg_control_system` and `pg_logical_emit_message`, such as the
/// administrator's.
///
/// # Errors
///
/// [`CheckError`] says why nothing can be said. A difference is no error: see [`Report::equal`]. Where a row was found
/// different before time ran out on others, that is reported, and the others are undecided.
pub async fn check(primary_url: &str, replica_url: &str, options: &Options) -> Result<Report, CheckError> {
    check_observed(primary_url, replica_url, options, |_| ()).await
}

/// The same as [`check`]; `observe` is told of each step.
///
/// # Errors
///
/// As [`check`].
pub async fn check_observed(
    primary_url: &str,
    replica_url: &str,
    options: &Options,
    observe: impl Fn(&Phase) + Sync,
) -> Result<Report, CheckError> {
    let started = Instant::now();
    let deadline = Deadline::after(options.timeout, options.stop.clone());
    let observe: Observe<'_> = &observe;
    let prepared = Prepared::connect(primary_url, replica_url, options, &deadline, observe).await?;
    let Prepared { mut primary, mut replica, tables, leftovers } = prepared;
    let wanted = Course::wanted(options, &tables)?;
    let sales = match &options.batch_id {
        Some(batch_id) => Some(batch::sales(&mut primary, batch_id, options.interval, observe).await?),
        None => None,
    };
    observe(&Phase::WaitingForSlot);
    let slot_pid = primary.pid;
    let mut course = Course::new(options, &tables, wanted, sales);
    let run = async {
        let (slot, watching, on_primary, on_replica) = try_join4(
            TemporarySlot::create(&mut primary),
            // A connection of its own, since the replica's first one compares rollups in the end.
            Database::connect(Side::Replica, replica_url, &deadline),
            Readers::connect(Side::Primary, primary_url, options.parallel, &deadline),
            Readers::connect(Side::Replica, replica_url, options.parallel, &deadline),
        )
        .await?;
        let mut fences = Fences::around(slot, primary, watching, options, &tables);
        let mut sides = Sides { primary: on_primary, replica: on_replica };
        let result = course.run(&mut fences, &mut sides, observe).await;
        course.note(&fences);
        result?;
        fences.close().await
    };
    if let Err(error) = run.await {
        clean_up(primary_url, slot_pid).await;
        return course.give_up(error, leftovers, started.elapsed());
    }
    let rollups = compare_rollups(&mut replica, options, observe).await?;
    Ok(course.report(rollups, leftovers, started.elapsed()))
}

/// Two databases that can be compared.
pub(crate) struct Prepared {
    pub(crate) primary: Database,
    pub(crate) replica: Database,
    pub(crate) tables: Vec<PublishedTable>,
    /// What verifiers that are gone have left; it is taken away.
    pub(crate) leftovers: Vec<Leftover>,
}

impl Prepared {
    pub(crate) async fn connect(
        primary_url: &str,
        replica_url: &str,
        options: &Options,
        deadline: &Deadline,
        observe: Observe<'_>,
    ) -> Result<Self, CheckError> {
        observe(&Phase::Preparing);
        let (mut primary, mut replica) = try_join(
            Database::connect(Side::Primary, primary_url, deadline),
            Database::connect(Side::Replica, replica_url, deadline),
        )
        .await?;
        let (on_primary, on_replica) =
            try_join(hashing::identify(&mut primary), hashing::identify(&mut replica)).await?;
        hashing::comparable(&on_primary, &on_replica)?;
        let failed = primary.failed("dropping slots of verifiers that are gone");
        let dropping =
            async { leftover::drop_all(&mut primary.connection, leftover::SILENT_FOR).await.map_err(failed) };
        let leftovers = deadline.bound(|| "dropping slots that were left".to_owned(), dropping).await?;
        // The subscription comes first: of a table that it does not know, the replica may know nothing either.
        observe(&Phase::WaitingForTables);
        let names = published::names(&mut primary, &options.publication).await?;
        catch_up::tables_ready(&mut primary, &mut replica, &options.subscription, &names).await?;
        let tables = published::tables(&mut primary, &mut replica, &options.publication).await?;
        Ok(Self { primary, replica, tables, leftovers })
    }
}

/// Reads while somebody sees to it that nobody is kept waiting.
pub(crate) async fn guarded<T>(
    reading: impl Future<Output = Result<T, CheckError>>,
    watching: impl Future<Output = Result<std::convert::Infallible, CheckError>>,
) -> Result<T, CheckError> {
    match select(std::pin::pin!(reading), std::pin::pin!(watching)).await {
        Either::Left((read, _)) => read,
        Either::Right((Err(error), _)) => Err(error),
        Either::Right((Ok(never), _)) => match never {},
    }
}

/// Ends every session of a check that failed on the primary, and with them its slot. Whoever is cut off in the middle of a
/// statement is noticed by the server only after a second.
pub(crate) async fn clean_up(primary_url: &str, slot_pid: i32) {
    let ending = async {
        // Also of a check that was stopped.
        let deadline = Deadline::after(CLEAN_UP_LIMIT, Shutdown::new());
        let mut primary = Database::connect(Side::Primary, primary_url, &deadline).await?;
        let query = sqlx::query("select pg_terminate_backend($1, 3000)").bind(slot_pid);
        primary.ask("ending the session of the slot", query, |_| Ok(())).await
    };
    // Where even this fails the server is gone, or notices by itself; the error that led here says more.
    let _given_up = timeout(CLEAN_UP_LIMIT, ending).await;
}

async fn compare_rollups(
    replica: &mut Database,
    options: &Options,
    observe: Observe<'_>,
) -> Result<Option<RollupReport>, CheckError> {
    if !options.rollups || options.batch_id.is_some() {
        return Ok(None);
    }
    rollups::compare(replica, |day| observe(&Phase::ReadingRollups(day))).await
}
