//! The checker is checked: each of its mistakes is noticed by what is right without it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::mpsc;
use xtask::postgres::{DATABASE, TestOptions, TestPair};

use crate::mutation::{Mutation, mutate};
use crate::sums::Sums;
use crate::{CheckError, Options, Phase, Report, Verdict, check_observed};

const TABLES: &str = "
    create schema shop;
    create table shop.line (id integer primary key, note text);
    create table shop.receipt (id integer primary key, note text, total numeric(12, 2) not null);
    create table shop.some (id integer primary key);
    create table shop.spare (id integer primary key);
";

const ROWS: &str = "
    truncate shop.line, shop.receipt, shop.spare;
    insert into shop.line (id, note) select n, 'line ' || n from generate_series(1, 10) as n;
    insert into shop.receipt (id, note, total)
    select n, case when n % 2 = 0 then 'note ' || n end, n * 1.25 from generate_series(1, 40) as n;
    insert into shop.spare (id) values (1);
";

/// How long the replica may take to apply a few rows.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a scenario is played with a mistake: a writer that had no processor for a while leaves a row at rest that was
/// to be restless.
const TRIES: usize = 3;

/// Between looks: about what one look costs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A still pair with small tables.
struct Lab {
    pair: TestPair,
    primary: PgConnection,
    replica: PgConnection,
}

async fn run(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.unwrap();
}

impl Lab {
    async fn open() -> Self {
        let pair = TestPair::bare(TestOptions::default()).await.unwrap();
        let mut primary = pair.primary().connect(DATABASE).await.unwrap();
        let mut replica = pair.replica().connect(DATABASE).await.unwrap();
        run(&mut primary, TABLES).await;
        run(&mut replica, TABLES).await;
        run(&mut primary, ROWS).await;
        let publish = "
            insert into shop.some (id) select generate_series(1, 9);
            create publication tandem_publication
                for table shop.line, shop.receipt, shop.some where (id > 4), shop.spare (id)";
        run(&mut primary, publish).await;
        let source = pair.primary().admin_url();
        let subscribe =
            format!("create subscription tandem_subscription connection '{source}' publication tandem_publication");
        run(&mut replica, &subscribe).await;
        let mut lab = Self { pair, primary, replica };
        let report = lab.check(options(), |_| ()).await.unwrap();
        assert!(report.equal, "{report}");
        lab.restore().await;
        lab
    }

    /// Makes both sides what they were in the beginning.
    async fn restore(&mut self) {
        for connection in [&mut self.primary, &mut self.replica] {
            run(connection, "alter table shop.spare drop column if exists added").await;
        }
        // What applies is stopped, and so is not surprised by rows that are there.
        run(&mut self.replica, "truncate shop.line, shop.receipt, shop.spare").await;
        run(&mut self.primary, ROWS).await;
        let deadline = Instant::now() + PATIENCE;
        let restored = "select (select count(*) from shop.receipt) = 40 and exists (select from shop.spare)";
        while !sqlx::query_scalar::<_, bool>(restored).fetch_one(&mut self.replica).await.unwrap() {
            assert!(Instant::now() < deadline, "the replica does not get its rows back");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn check(&self, options: Options, observe: impl Fn(&Phase) + Sync) -> Result<Report, CheckError> {
        check_observed(&self.pair.primary().admin_url(), &self.pair.replica().admin_url(), &options, observe).await
    }

    async fn spoil(&mut self, statements: &str) {
        run(&mut self.replica, statements).await;
    }

    /// Checks with `inside` carried out on the primary within the first fence: the replica, kept from applying by a lock,
    /// reaches the fence's beginning only behind it. `resting` is carried out on the replica before the fence of that number.
    async fn check_around(
        &mut self,
        inside: &str,
        resting: Option<(u32, &str)>,
        options: Options,
    ) -> Result<Report, CheckError> {
        let mut blocker = self.pair.replica().connect(DATABASE).await.unwrap();
        run(&mut blocker, "begin; lock table shop.line in share row exclusive mode").await;
        // A first change that the lock holds up, with all that follow it.
        run(&mut self.primary, "update shop.line set note = note where id = 10").await;
        let (told, mut tell) = mpsc::unbounded_channel();
        let (primary, replica) = (&mut self.primary, &mut self.replica);
        let acting = async move {
            let mut fences = 0;
            while let Some(begins) = tell.recv().await {
                match begins {
                    Step::Begun if fences == 0 => {
                        fences = 1;
                        run(primary, inside).await;
                        run(&mut blocker, "rollback").await;
                    }
                    Step::Begun => {}
                    Step::Resting => {
                        fences += 1;
                        if let Some((_, statements)) = resting.filter(|(fence, _)| *fence == fences) {
                            run(replica, statements).await;
                        }
                    }
                }
            }
        };
        let told = Mutex::new(Some(told));
        let observe = |phase: &Phase| {
            let step = match phase {
                Phase::WaitingForReplica(_) => Step::Begun,
                Phase::Resting { .. } => Step::Resting,
                _ => return,
            };
            if let Some(told) = told.lock().unwrap().as_ref() {
                told.send(step).unwrap();
            }
        };
        let (primary_url, replica_url) = (self.pair.primary().admin_url(), self.pair.replica().admin_url());
        let checking = async {
            let report = check_observed(&primary_url, &replica_url, &options, &observe).await;
            // Whoever acts has nothing more to wait for.
            told.lock().unwrap().take();
            report
        };
        let (report, ()) = futures::future::join(checking, acting).await;
        report
    }
}

enum Step {
    Begun,
    Resting,
}

fn options() -> Options {
    Options {
        range_size: 1,
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(6),
        ..Options::default()
    }
}

/// `table key kind columns` of each difference.
fn listed(report: &Report) -> Vec<String> {
    let of_table = |table: &crate::TableReport| {
        let name = table.table.clone();
        let lines =
            table.differences.iter().map(move |one| format!("{name} {} {} {:?}", one.key, one.kind, one.columns));
        lines.collect::<Vec<_>>()
    };
    report.tables.iter().flat_map(of_table).collect()
}

/// What must be so, as each scenario knows it.
type Held = Result<(), String>;

fn held(is: bool, what: impl FnOnce() -> String) -> Held {
    if is { Ok(()) } else { Err(what()) }
}

async fn equal(lab: &mut Lab) -> Held {
    let report = lab.check(options(), |_| ()).await;
    held(report.as_ref().is_ok_and(|report| report.equal && report.tables.len() == 4), || format!("{report:?}"))
}

/// Faults in the first row, the last, and at the borders between, where every row is a range of its own.
async fn faults(lab: &mut Lab) -> Held {
    lab.spoil(
        "update shop.line set note = 'other' where id = 5;
        update shop.receipt set total = total + 0.01 where id in (1, 20);
        update shop.receipt set note = '' where id = 3;
        delete from shop.receipt where id = 40;
        insert into shop.receipt (id, total) values (41, 7)",
    )
    .await;
    let report = lab.check(options(), |_| ()).await.map_err(|error| error.with_causes())?;
    let expected = [
        "shop.line 5 different [\"note\"]",
        "shop.receipt 1 different [\"total\"]",
        "shop.receipt 20 different [\"total\"]",
        "shop.receipt 3 different [\"note\"]",
        "shop.receipt 40 missing []",
        "shop.receipt 41 extra []",
    ];
    held(listed(&report) == expected && !report.equal, || report.to_string())
}

/// Two rows trade a value. Without a chain their hashes add up to the same but for a multiple of 2^64, which every other pair
/// or so has.
async fn swapped(lab: &mut Lab) -> Held {
    for id in [12, 14, 16, 18] {
        let other = id + 1;
        let swap = format!(
            "update shop.receipt set total = 1.25 * case id when {id} then {other} else {id} end where id in ({id}, {other})"
        );
        lab.spoil(&swap).await;
        let report = lab.check(options(), |_| ()).await.map_err(|error| error.with_causes())?;
        let expected = [id, other].map(|id| format!("shop.receipt {id} different [\"total\"]"));
        held(listed(&report) == expected, || report.to_string())?;
        lab.spoil("update shop.receipt set total = 1.25 * id").await;
    }
    Ok(())
}

async fn null(lab: &mut Lab) -> Held {
    lab.spoil("update shop.receipt set note = '' where id = 7").await;
    let report = lab.check(options(), |_| ()).await.map_err(|error| error.with_causes())?;
    held(listed(&report) == ["shop.receipt 7 different [\"note\"]"], || report.to_string())
}

async fn limit(lab: &mut Lab) -> Held {
    lab.spoil("update shop.receipt set total = 0 where id = 20").await;
    let one = lab.check(Options { differences: 1, ..options() }, |_| ()).await.map_err(|error| error.with_causes())?;
    held(listed(&one).len() == 1 && !one.tables[1].more_differences, || one.to_string())?;
    lab.spoil("update shop.receipt set total = 0 where id in (3, 9)").await;
    let two = lab.check(Options { differences: 2, ..options() }, |_| ()).await.map_err(|error| error.with_causes())?;
    held(listed(&two).len() == 2 && two.tables[1].more_differences, || two.to_string())
}

/// A row that is missing and touched in the first fence: set aside, and found in the two that follow.
async fn touched(lab: &mut Lab) -> Held {
    lab.spoil("delete from shop.receipt where id = 7").await;
    let inside = "update shop.receipt set total = 0 where id = 7";
    let report = lab.check_around(inside, None, options()).await.map_err(|error| error.with_causes())?;
    let aside = (report.tables[1].set_aside, report.tables[1].rechecked);
    let found = listed(&report) == ["shop.receipt 7 missing []"] && report.fences == 3;
    held(found && aside == (1, 1), || format!("{report}"))
}

/// The same, but the row comes back after one fence has found it missing.
async fn healed(lab: &mut Lab) -> Held {
    lab.spoil("delete from shop.receipt where id = 7").await;
    let inside = "update shop.receipt set total = 0 where id = 7";
    let heal = "insert into shop.receipt (id, total) values (7, 0)";
    let report = lab.check_around(inside, Some((3, heal)), options()).await;
    let report = report.map_err(|error| error.with_causes())?;
    held(report.equal && report.fences == 3, || report.to_string())
}

async fn truncated(lab: &mut Lab) -> Held {
    let report = lab.check_around("truncate shop.spare", None, options()).await;
    held(matches!(report, Err(CheckError::Truncated { .. })), || format!("{report:?}"))
}

async fn changed(lab: &mut Lab) -> Held {
    let report = lab.check_around("alter table shop.spare add column added integer", None, options()).await;
    held(matches!(report, Err(CheckError::SchemaChanged { .. })), || format!("{report:?}"))
}

/// A replica that does not apply says nothing about its rows.
async fn behind(lab: &mut Lab) -> Held {
    let mut blocker = lab.pair.replica().connect(DATABASE).await.unwrap();
    run(&mut blocker, "begin; lock table shop.line in share row exclusive mode").await;
    run(&mut lab.primary, "update shop.line set note = 'new' where id = 1").await;
    let report = lab.check(Options { timeout: Duration::from_secs(1), ..options() }, |_| ()).await;
    run(&mut blocker, "rollback").await;
    held(matches!(report, Err(CheckError::ReplicaBehind { .. })), || format!("{report:?}"))
}

/// A row that is written in every fence has no verdict.
async fn restless(lab: &mut Lab) -> Held {
    let mut writer = lab.pair.primary().connect(DATABASE).await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            run(&mut writer, "update shop.spare set id = id").await;
        }
    });
    let timeout = Duration::from_millis(1_500);
    let report = lab.check(Options { timeout, interval: Duration::ZERO, ..options() }, |_| ()).await;
    stop.send(()).unwrap();
    writing.await.unwrap();
    match report {
        Err(CheckError::KeptChanging { .. }) => Ok(()),
        // A writer that had no processor for a while leaves the row at rest.
        Ok(report) if report.tables.iter().all(|table| table.verdict == Verdict::Equal) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn counted() -> Held {
    let sums = |rows| Sums { rows, hash: 7 };
    held(sums(1) != sums(2), || "another number of rows".to_owned())
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Equal,
    Faults,
    Swapped,
    Null,
    Limit,
    Touched,
    Healed,
    Truncated,
    Changed,
    Behind,
    Restless,
    Counted,
}

impl Scenario {
    /// The one that notices the mistake.
    fn that_notices(mutation: Mutation) -> Self {
        use Mutation as M;
        match mutation {
            M::OpenLowerBound | M::SkipFirstPart | M::SkipLastBlock | M::FirstTableOnly => Self::Faults,
            M::ForgetLastColumn | M::IgnoreHash | M::SwapKinds | M::NameNoColumns => Self::Faults,
            M::NoChain => Self::Swapped,
            M::NullIsEmpty => Self::Null,
            M::ClosedUpperBound | M::HideMore => Self::Limit,
            M::IgnoreCount => Self::Counted,
            M::FilterNoSide => Self::Equal,
            M::OneFenceIsEnough => Self::Healed,
            M::SetNothingAside | M::ForgetSetAside => Self::Touched,
            M::DontWaitForReplica => Self::Behind,
            M::IgnoreTruncate => Self::Truncated,
            M::IgnoreSchemaChange => Self::Changed,
            M::TimeOutIsEqual => Self::Restless,
        }
    }

    async fn play(self, lab: &mut Lab) -> Held {
        let held = match self {
            Self::Equal => equal(lab).await,
            Self::Faults => faults(lab).await,
            Self::Swapped => swapped(lab).await,
            Self::Null => null(lab).await,
            Self::Limit => limit(lab).await,
            Self::Touched => touched(lab).await,
            Self::Healed => healed(lab).await,
            Self::Truncated => truncated(lab).await,
            Self::Changed => changed(lab).await,
            Self::Behind => behind(lab).await,
            Self::Restless => restless(lab).await,
            Self::Counted => counted(),
        };
        mutate(None);
        lab.restore().await;
        held
    }
}

#[tokio::test]
async fn every_mistake_of_the_checker_is_noticed() {
    let mut lab = Lab::open().await;
    let (mut unnoticed, mut played) = (Vec::new(), Vec::new());
    for mutation in Mutation::ALL {
        let scenario = Scenario::that_notices(mutation);
        if !played.contains(&scenario) {
            assert_eq!(scenario.play(&mut lab).await, Ok(()), "{scenario:?}, without a mistake");
            played.push(scenario);
        }
        let mut is_noticed = false;
        for _ in 0..TRIES {
            mutate(Some(mutation));
            is_noticed = scenario.play(&mut lab).await.is_err();
            if is_noticed {
                break;
            }
        }
        if !is_noticed {
            unnoticed.push(mutation);
        }
    }
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
}
