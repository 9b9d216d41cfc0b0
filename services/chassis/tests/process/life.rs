//! How a server starts, drains and ends.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::echo::{PATIENCE, SAY, SERVICE, ask, call, count, reason, settings, start};
use tandem_chassis::database::{Database, DatabaseError};
use tandem_chassis::deadline::Deadline;
use tandem_chassis::settings::{DatabaseSettings, ServerSettings, SslMode};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn health_is_not_serving_until_the_condition_holds_and_names_each_service() {
    let server = start(settings()).await;
    let mut health = server.health_client().await;
    for service in ["", SERVICE] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
    server.ready.set(true).await;
    for service in ["", SERVICE] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(of("no.v1.Such")).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_watcher_hears_not_serving_first_and_does_not_hold_up_the_drain() {
    let server = start(settings()).await;
    server.ready.set(true).await;
    let mut health = server.health_client().await;
    let mut watch = health.watch(of("")).await.unwrap().into_inner();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::Serving);

    server.shutdown.trigger();
    let status = watch.message().await.unwrap().unwrap().status();
    assert_eq!(status, ServingStatus::NotServing);
    let end = timeout(PATIENCE, watch.message()).await;
    let end = end.expect("the watch ends").unwrap_err();
    assert_eq!(reason(&end), (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    let before = Instant::now();
    server.ended().await.unwrap();
    assert!(before.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn calls_in_flight_finish_and_nobody_new_gets_in() {
    let server = start(settings()).await;
    let channel = server.channel().await;
    let in_flight = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, SAY, ask("wait")).await }
    });
    server.gate.entered(1).await;
    server.shutdown.trigger();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the listener closes");
    assert!(!server.health.is_serving());
    assert!(!server.server.is_finished());

    server.gate.passes.add_permits(1);
    assert_eq!(in_flight.await.unwrap().unwrap().into_inner().number, 2);
    server.ended().await.unwrap();
}

#[tokio::test]
async fn calls_that_outlast_the_drain_are_cut_off_with_unavailable() {
    let drain_timeout = Duration::from_millis(50);
    let server = start(ServerSettings { drain_timeout, ..settings() }).await;
    let channel = server.channel().await;
    let unary = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, SAY, ask("wait")).await }
    });
    let mut numbers = count(&channel, "").await;
    numbers.message().await.unwrap().unwrap();
    server.gate.entered(1).await;
    server.shutdown.trigger();
    let expected = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
    assert_eq!(reason(&unary.await.unwrap().unwrap_err()), expected);
    assert_eq!(reason(&numbers.message().await.unwrap_err()), expected);
    server.ended().await.unwrap();
}

fn database_at(address: std::net::SocketAddr, acquire_timeout: Duration) -> Database {
    Database::new(&DatabaseSettings {
        host: address.ip().to_string(),
        port: address.port(),
        database: "nobody".to_owned(),
        user: "nobody".to_owned(),
        password: "nothing".into(),
        ssl_mode: SslMode::Disable,
        ssl_root_cert: None,
        max_connections: NonZeroU32::new(2).unwrap(),
        acquire_timeout,
        application_name: "chassis-test".to_owned(),
    })
    .unwrap()
}

async fn database_that_refuses() -> Database {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    database_at(listener.local_addr().unwrap(), Duration::from_millis(200))
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let database = database_that_refuses().await;
    let deadline = Deadline::after(PATIENCE);
    let read = database.read(deadline, |_| Box::pin(async { Ok::<_, DatabaseError>(()) }));
    let error = timeout(PATIENCE, read).await.unwrap().unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error:?}");
    let error = database.ping(PATIENCE).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_that_never_answers_is_deadline_exceeded() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = database_at(silent.local_addr().unwrap(), PATIENCE * 2);
    let deadline = Deadline::after(Duration::from_millis(50));
    let write = database.write(deadline, |_| Box::pin(async { Ok::<_, DatabaseError>(()) }));
    let error = timeout(PATIENCE, write).await.unwrap().unwrap_err();
    assert!(matches!(error, DatabaseError::DeadlineExceeded), "{error:?}");
    let error = timeout(PATIENCE, database.ping(Duration::from_millis(50))).await.unwrap().unwrap_err();
    assert!(matches!(error, DatabaseError::DeadlineExceeded), "{error:?}");
}

#[tokio::test]
async fn a_process_without_its_database_stays_not_serving() {
    let server = start(settings()).await;
    server.ready.set(true).await;
    assert!(server.health.is_serving());
    let database = database_that_refuses().await;
    server.health.watch_database(database, server.shutdown.clone());
    let mut health = server.health_client().await;
    let mut watch = health.watch(of("")).await.unwrap().into_inner();
    loop {
        let status = watch.message().await.unwrap().unwrap().status();
        if status == ServingStatus::NotServing {
            break;
        }
    }
    server.ready.set(true).await;
    assert!(!server.health.is_serving());
}
