//! The process is killed while a command stands at a moment, started again, and asked again with the same request id.

use std::{os::unix::process::ExitStatusExt as _, path::Path};

use tandem_command::failpoint::Failpoint::{AfterCommit, BeforeBegin, BeforeCommit};
use tandem_proto::sales::command::v1::sales_command_service_client::SalesCommandServiceClient;
use tandem_tests::{
    Tandem, channel,
    database::until_command_is_at_rest,
    program::{Program, command_of},
};
use tonic::{Code, transport::Channel};
use xtask::service::{Binaries, Service};

use crate::{
    alone,
    moment::Moment::{self, At, AtCommit, InStatement},
    write::Write,
};

/// The command service with failpoints.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tandem-command-failpoints");
/// Names the failpoint at which it is killed.
const KILL_AT: &str = "TANDEM_KILL_AT";
/// SIGKILL.
const KILLED: i32 = 9;

async fn start(tandem: &Tandem, kill_at: &[(&str, &str)]) -> Program {
    let own = [("TANDEM_LANES", "1"), ("TANDEM_INSTANCE_NAME", "killed")];
    let further = [kill_at, &own].concat();
    Program::spawn(command_of(Path::new(PROGRAM), &tandem.pair, Service::Command, &further)).await.unwrap()
}

fn commands(program: &Program) -> SalesCommandServiceClient<Channel> {
    SalesCommandServiceClient::new(channel(program.grpc))
}

/// Kills the service at the moment and asks again: whether the first try had been carried out. Either way the write is
/// there once.
async fn killed_at(tandem: &Tandem, moment: Moment, asked: Write) -> bool {
    let mut primary = tandem.primary().await;
    let (status, held) = match moment {
        At(failpoint) => {
            let name = match failpoint {
                BeforeBegin => "before_begin",
                BeforeCommit => "before_commit",
                AfterCommit => "after_commit",
            };
            let program = start(tandem, &[(KILL_AT, name)]).await;
            let status = asked.clone().send(commands(&program)).await.unwrap_err();
            let (exit, log) = program.ended().await.unwrap();
            assert_eq!(exit.signal(), Some(KILLED), "{log:#?}");
            (status, None)
        }
        InStatement | AtCommit => {
            let program = start(tandem, &[]).await;
            // The lane prepares the statement now. The next time all of it is sent at once, and does not wait in pieces.
            Write::create().send(commands(&program)).await.unwrap();
            let held = moment.hold(tandem).await;
            let call = tokio::spawn(asked.clone().send(commands(&program)));
            held.reached(&mut primary).await;
            program.kill().await.unwrap();
            (call.await.unwrap().unwrap_err(), Some(held))
        }
    };
    // The service can't say anything any more: these are the words of the caller's own library.
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{moment:?}: {status:?}");

    let restarted = start(tandem, &[]).await;
    let retry = tokio::spawn(asked.clone().send(commands(&restarted)));
    if let Some(held) = held {
        held.release().await;
    }
    let retry = retry.await.unwrap().unwrap();
    assert!(asked.is_there(&mut primary).await, "{moment:?}");
    let again = asked.clone().send(commands(&restarted)).await.unwrap();
    assert!(again.replayed && again.sales == retry.sales, "{moment:?}: {again:?} is not {retry:?}");
    until_command_is_at_rest(&mut primary).await;
    retry.replayed
}

#[tokio::test]
async fn a_service_killed_before_it_asks_the_database_has_done_nothing_and_the_retry_is_carried_out() {
    let (_alone, tandem) = alone().await;
    for asked in [Write::create(), Write::batch(), Write::update(tandem).await] {
        assert!(!killed_at(tandem, At(BeforeBegin), asked).await);
    }
}

#[tokio::test]
async fn a_service_killed_in_a_transaction_has_done_nothing_and_the_retry_is_carried_out() {
    let (_alone, tandem) = alone().await;
    for moment in [InStatement, At(BeforeCommit)] {
        let asked = Write::update(tandem).await;
        assert!(!killed_at(tandem, moment, asked).await, "{moment:?}");
    }
}

#[tokio::test]
async fn new_sales_in_the_hands_of_the_database_outlive_the_service_and_the_retry_hears_of_them() {
    let (_alone, tandem) = alone().await;
    for asked in [Write::create(), Write::batch()] {
        assert!(killed_at(tandem, InStatement, asked).await);
    }
}

#[tokio::test]
async fn a_service_killed_while_the_database_commits_or_afterwards_has_done_it_and_the_retry_hears_of_it() {
    let (_alone, tandem) = alone().await;
    for moment in [AtCommit, At(AfterCommit)] {
        for asked in [Write::create(), Write::batch(), Write::update(tandem).await] {
            assert!(killed_at(tandem, moment, asked).await, "{moment:?}");
        }
    }
}

#[tokio::test]
async fn the_program_that_is_deployed_has_no_failpoints() {
    let has = |program: &Path| {
        let content = std::fs::read(program).unwrap();
        content.windows(KILL_AT.len()).any(|bytes| bytes == KILL_AT.as_bytes())
    };
    assert!(has(Path::new(PROGRAM)), "the search is of no use");
    assert!(!has(&Binaries::from_environment().await.unwrap().path(Service::Command)));
}
