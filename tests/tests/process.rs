//! The services as an operator meets them: the real binaries, their signals, exit codes, logs, metrics and help.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, net::TcpListener, time::Duration};

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tandem_proto::sales::{
    command::v1::{
        CreateTransactionRequest, UpdateTransactionRequest, sales_command_service_client::SalesCommandServiceClient,
    },
    query::v1::{GetSummaryRequest, GetTransactionRequest, sales_query_service_client::SalesQueryServiceClient},
    v1::SalesTransaction,
};
use tandem_replication::{ConsistencyToken, Lsn};
use tandem_tests::{
    channel,
    database::until_command_waits_for_a_lock,
    health,
    program::{Program, command, run_to_end},
    request::{after, create, item, reason, sale, within},
};
use tokio::{net::TcpStream, sync::OnceCell, time::timeout};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use uuid::Uuid;
use xtask::{
    postgres::{Login, TestOptions, TestPair},
    service::{Binaries, Service},
};

/// Far more than a start, an answer or an end takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One for all: each test has programs of its own, and nobody stops the databases.
async fn pair() -> &'static TestPair {
    static PAIR: OnceCell<TestPair> = OnceCell::const_new();
    PAIR.get_or_init(|| async { TestPair::start(TestOptions::default()).await.unwrap() }).await
}

async fn admin() -> PgConnection {
    PgConnection::connect(&pair().await.url(Login::PrimaryAdmin)).await.unwrap()
}

async fn serving(service: Service, further: &[(&str, &str)]) -> Program {
    let program = Program::start(pair().await, service, further).await.unwrap();
    health::until(program.grpc, "", Serving, PATIENCE).await;
    program
}

fn commands(program: &Program) -> SalesCommandServiceClient<Channel> {
    SalesCommandServiceClient::new(channel(program.grpc))
}

/// The lines of a log, each of which must be JSON.
fn json(log: &[String]) -> Vec<Value> {
    log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

/// A field of the span of the call that a line belongs to.
fn of_call<'l>(line: &'l Value, field: &str) -> &'l str {
    let call = line["spans"].as_array().and_then(|spans| spans.iter().find(|span| span["name"] == "call"));
    call.and_then(|call| call[field].as_str()).unwrap_or_default()
}

/// Locks one sale, for as long as the transaction of the connection lasts.
async fn lock(holder: &mut PgConnection, id: Uuid) {
    sqlx::query("begin").execute(&mut *holder).await.unwrap();
    let sql = "select from sales.sales_transaction where transaction_id = $1 for update";
    sqlx::query(sql).bind(id).execute(holder).await.unwrap();
}

fn update(transaction_id: &str) -> UpdateTransactionRequest {
    let transaction =
        SalesTransaction { transaction_id: transaction_id.to_owned(), store_id: 55, ..SalesTransaction::default() };
    UpdateTransactionRequest { transaction: Some(transaction), ..UpdateTransactionRequest::default() }
}

#[tokio::test]
async fn at_sigterm_calls_in_flight_finish_and_the_last_watermark_covers_them() {
    let program = serving(Service::Command, &[("TANDEM_INSTANCE_NAME", "terminated")]).await;
    let mut client = commands(&program);
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    let stored = client.create_transaction(asked).await.unwrap().into_inner().transaction.unwrap();
    let (mut holder, mut watcher) = (admin().await, admin().await);
    lock(&mut holder, stored.transaction_id.parse().unwrap()).await;
    let in_flight = tokio::spawn(async move { client.update_transaction(update(&stored.transaction_id)).await });
    until_command_waits_for_a_lock(&mut watcher).await;
    let mut changes = health::watch(program.grpc, "").await;
    assert_eq!(changes.message().await.unwrap().unwrap().status(), Serving);

    program.terminate().unwrap();
    let next = timeout(PATIENCE, changes.message()).await.unwrap().unwrap();
    assert_eq!(next.unwrap().status(), NotServing, "load balancers hear it first");
    program.line(|line| line["message"] == "draining" && line["calls"] == 1).await.unwrap();
    let refused = async { while TcpStream::connect(program.grpc).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("nobody new gets in");
    sqlx::query("rollback").execute(&mut holder).await.unwrap();

    let answer = in_flight.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.transaction.unwrap().store_id, 55);
    let (status, log) = program.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    let token: ConsistencyToken = answer.consistency_token.parse().unwrap();
    let sql = "select lsn::text from tandem.watermark where writer = 'terminated'";
    let watermark: String = sqlx::query_scalar(sql).fetch_one(&mut watcher).await.unwrap();
    assert!(watermark.parse::<Lsn>().unwrap() >= token.position().lsn, "{watermark} covers {:?}", token.position());
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_cut_off_with_words_and_the_exit_is_still_clean() {
    let program = serving(Service::Command, &[("TANDEM_DRAIN_TIMEOUT", "100ms")]).await;
    let mut client = commands(&program);
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    let stored = client.create_transaction(asked).await.unwrap().into_inner().transaction.unwrap();
    let (mut holder, mut watcher) = (admin().await, admin().await);
    lock(&mut holder, stored.transaction_id.parse().unwrap()).await;
    let asked = within(update(&stored.transaction_id), Duration::from_secs(3));
    let in_flight = tokio::spawn(async move { client.update_transaction(asked).await });
    until_command_waits_for_a_lock(&mut watcher).await;
    program.terminate().unwrap();
    let status = in_flight.await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"), "{status:?}");
    let (status, log) = program.ended().await.unwrap();
    assert_eq!(status.code(), Some(0), "{log:#?}");
    assert!(json(&log).iter().any(|line| line["level"] == "WARN" && line["calls"] == 1), "{log:#?}");
}

#[tokio::test]
async fn each_call_leaves_one_line_of_json_and_no_line_holds_sql_a_password_or_a_payload() {
    let pair = pair().await;
    let program = serving(Service::Command, &[]).await;
    let mut client = commands(&program);
    let mut request = Request::new(create(sale(1, vec![item("TOP-SECRET", 1, "1234.56")])));
    request.metadata_mut().insert("x-request-id", "till-1-good".parse().unwrap());
    let stored = client.create_transaction(request).await.unwrap().into_inner().transaction.unwrap();
    let mut request = Request::new(create(sale(1, vec![item("TOP-SECRET", -1, "1234.56")])));
    request.metadata_mut().insert("x-request-id", "till-1-bad".parse().unwrap());
    client.create_transaction(request).await.unwrap_err();
    // A statement that is slow, and fails.
    let mut holder = admin().await;
    lock(&mut holder, stored.transaction_id.parse().unwrap()).await;
    let mut request = within(update(&stored.transaction_id), Duration::from_millis(1_500));
    request.metadata_mut().insert("x-request-id", "till-1-slow".parse().unwrap());
    client.update_transaction(request).await.unwrap_err();
    program.terminate().unwrap();
    let (_, log) = program.ended().await.unwrap();

    let lines = json(&log);
    for (id, code) in [("till-1-good", "OK"), ("till-1-bad", "INVALID_ARGUMENT"), ("till-1-slow", "DEADLINE_EXCEEDED")]
    {
        let finished = |line: &&Value| line["message"] == "call finished" && of_call(line, "request_id") == id;
        let found: Vec<_> = lines.iter().filter(finished).collect();
        assert_eq!(found.len(), 1, "{id}: {log:#?}");
        assert_eq!(found[0]["code"], code, "{log:#?}");
        assert_eq!(of_call(found[0], "trace_id").len(), 32, "{:?}", found[0]);
        assert!(found[0]["duration_ms"].as_f64().unwrap() > 0.0);
    }
    let text = log.join("\n");
    for login in Login::ALL {
        assert!(!text.contains(pair.passwords().expose(login)), "the password of {login:?}: {text}");
    }
    for words in ["TOP-SECRET", "1234.56", "select ", "insert ", "update sales", "sales_transaction", "begin"] {
        assert!(!text.to_lowercase().contains(&words.to_lowercase()), "{words:?} in {text}");
    }
}

#[tokio::test]
async fn metrics_count_calls_and_show_the_pool_and_how_stale_the_replica_is() {
    let command = serving(Service::Command, &[]).await;
    let query = serving(Service::Query, &[]).await;
    let asked = create(sale(1, vec![item("A", 1, "1.00")]));
    let answer = commands(&command).create_transaction(asked.clone()).await.unwrap().into_inner();
    // A lane carries commands out; one that is only validated takes a connection of the pool.
    let rehearsal = CreateTransactionRequest { validate_only: true, ..asked };
    commands(&command).create_transaction(rehearsal).await.unwrap();
    let asked = GetTransactionRequest {
        transaction_id: answer.transaction.unwrap().transaction_id,
        consistency: after(&answer.consistency_token),
    };
    let mut queries = SalesQueryServiceClient::new(channel(query.grpc));
    queries.get_transaction(asked).await.unwrap();
    queries.get_summary(GetSummaryRequest::default()).await.unwrap();

    let of_command = [
        "grpc_server_handled_total{grpc_service=\"sales.command.v1.SalesCommandService\",\
         grpc_method=\"CreateTransaction\",grpc_code=\"OK\"} 2",
        "grpc_server_handling_seconds_count{grpc_service=\"sales.command.v1.SalesCommandService\",\
         grpc_method=\"CreateTransaction\"} 2",
        "tandem_lane_batch_size_bucket{le=\"1\"} 1",
        "tandem_lane_queue_seconds_count 1",
        "tandem_lane_commit_seconds_count 1",
        "grpc_server_in_flight ",
        "database_pool_size{pool=\"tandem-command\"}",
        "database_pool_in_use{pool=\"tandem-command\"}",
        "database_pool_idle{pool=\"tandem-command\"}",
        "database_pool_acquire_seconds_bucket{pool=\"tandem-command\"",
    ];
    let of_query = [
        "grpc_method=\"GetTransaction\",grpc_code=\"OK\"} 1",
        "grpc_method=\"GetSummary\",grpc_code=\"OK\"} 1",
        "database_pool_size{pool=\"tandem-query\"}",
        "tandem_replication_staleness_seconds ",
        "tandem_replication_lag_bytes ",
    ];
    for (program, expected) in [(&command, &of_command[..]), (&query, &of_query[..])] {
        let metrics = program.scrape().await.unwrap();
        for words in expected {
            assert!(metrics.contains(words), "{words} in {metrics}");
        }
    }
    let metrics = query.scrape().await.unwrap();
    let staleness = metrics.lines().find_map(|line| line.strip_prefix("tandem_replication_staleness_seconds "));
    assert!(staleness.unwrap().parse::<f64>().unwrap() < 20.0, "{staleness:?}");
}

#[tokio::test]
async fn a_wrong_password_keeps_the_service_from_serving_and_the_log_says_so_once() {
    let pair = pair().await;
    let wrong = pair.directory().join("wrong-password");
    std::fs::write(&wrong, "not-the-password").unwrap();
    let variable = [("TANDEM_PRIMARY_PASSWORD_FILE", wrong.to_str().unwrap())];
    let program = Program::start(pair, Service::Command, &variable).await.unwrap();
    let refused = program.line(|line| line["message"] == "the database does not answer").await.unwrap();
    let words = refused["error"].as_str().unwrap();
    assert!(words.contains("password authentication failed for user \"tandem_command\""), "{words}");
    assert_eq!(health::check(program.grpc, "").await.unwrap(), NotServing);
    program.terminate().unwrap();
    let (status, log) = program.ended().await.unwrap();
    assert_eq!(status.code(), Some(0));
    let said = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(said("the database does not answer"), 1, "{log:#?}");
    assert_eq!(said("not-the-password"), 0, "{log:#?}");
}

/// The names in a settings table: `A_HOST`, `_PORT` means A_HOST and A_PORT, and so does `…_PORT`.
fn documented(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for row in source.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let cell = row.split(" | ").next().unwrap();
        let mut words = cell.split(", ").map(|name| name.trim_matches('`'));
        let first = words.next().unwrap();
        let stem = &first[..first.rfind('_').unwrap()];
        names.extend(words.map(|word| format!("{stem}{}", word.trim_start_matches('…'))));
        names.insert(first.to_owned());
    }
    names
}

#[tokio::test]
async fn help_names_every_variable_and_shows_no_secret() {
    let binaries = Binaries::from_environment().await.unwrap();
    let of_chassis = documented(include_str!("../../services/chassis/src/settings.rs"));
    let of_command = documented(include_str!("../../services/command/src/settings.rs"));
    let of_query = documented(include_str!("../../services/query/src/settings.rs"));
    for (service, own) in [(Service::Command, of_command), (Service::Query, of_query)] {
        let mut help = String::new();
        for action in ["serve", "migrate"] {
            let mut command = tokio::process::Command::new(binaries.path(service));
            command.args([action, "--help"]);
            for name in own.iter().filter(|name| name.ends_with("_PASSWORD")) {
                command.env(name, "hunter2");
            }
            let output = run_to_end(command).await.unwrap();
            assert!(output.status.success());
            help += &String::from_utf8(output.stdout).unwrap();
        }
        let named: BTreeSet<_> = help
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .filter(|word| word.starts_with("TANDEM_") || word.starts_with("OTEL_"))
            .map(str::to_owned)
            .collect();
        let documented: BTreeSet<_> = own.union(&of_chassis).cloned().collect();
        assert_eq!(named, documented, "{service:?}");
        assert!(!help.contains("hunter2"), "{help}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_the_exit_code_is_1() {
    let pair = pair().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables = [
        (Service::Command, "TANDEM_COMMAND_LISTEN"),
        (Service::Command, "TANDEM_COMMAND_METRICS_LISTEN"),
        (Service::Query, "TANDEM_QUERY_LISTEN"),
        (Service::Query, "TANDEM_QUERY_METRICS_LISTEN"),
    ];
    for (service, variable) in variables {
        let output = run_to_end(command(pair, service, &[(variable, &address)]).await.unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable}");
        let log = String::from_utf8(output.stderr).unwrap();
        let named =
            |line: &Value| line["level"] == "ERROR" && line.to_string().contains(&format!("can't listen on {address}"));
        assert!(json(&log.lines().map(str::to_owned).collect::<Vec<_>>()).iter().any(named), "{variable}: {log}");
    }
}

#[tokio::test]
async fn a_password_that_is_not_given_is_asked_for_by_its_names() {
    let pair = pair().await;
    for (service, name) in [(Service::Command, "TANDEM_PRIMARY_PASSWORD"), (Service::Query, "TANDEM_REPLICA_PASSWORD")]
    {
        let mut command = command(pair, service, &[]).await.unwrap();
        command.env_remove(format!("{name}_FILE"));
        let output = run_to_end(command).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(log.contains(&format!("give {name} or {name}_FILE")), "{log}");
    }
}
