//! The caller leaves while its command stands at a moment. A lane that has taken a command carries it out; a command that
//! is only validated leaves no trace wherever its caller leaves. The connection serves the next one.

use tandem_command::failpoint::Failpoint::{AfterCommit, BeforeBegin, BeforeCommit};
use tandem_proto::sales::command::v1::CreateTransactionRequest;
use tandem_tests::{Tandem, callers::leave, database::until_command_is_at_rest};

use crate::{
    alone,
    moment::Moment::{self, At, AtCommit, InStatement},
    write::Write,
};

/// Of new sales alone, which are one statement.
const OF_A_STATEMENT: [Moment; 4] = [At(BeforeBegin), InStatement, AtCommit, At(AfterCommit)];
/// Of a transaction of several statements.
const OF_A_TRANSACTION: [Moment; 5] = [At(BeforeBegin), InStatement, At(BeforeCommit), AtCommit, At(AfterCommit)];

/// Asks, leaves at the moment, and lets the service go on.
async fn leave_at(tandem: &Tandem, moment: Moment, asked: &Write) {
    let mut primary = tandem.primary().await;
    let held = moment.hold(tandem).await;
    let call = tokio::spawn(asked.clone().send(tandem.commands()));
    held.reached(&mut primary).await;
    leave(call).await;
    held.release().await;
}

/// The next caller gets what it asks for, nothing is left open, and nobody got a connection inside of another's
/// transaction.
async fn goes_on_well(tandem: &Tandem, moment: Moment) {
    let mut primary = tandem.primary().await;
    let next = Write::create();
    let answer = next.clone().send(tandem.commands()).await.unwrap();
    assert!(!answer.replayed && next.is_there(&mut primary).await, "{moment:?}");
    until_command_is_at_rest(&mut primary).await;
    let log = std::fs::read_to_string(tandem.pair.primary().log_file()).unwrap();
    assert!(!log.contains("already a transaction in progress"), "{moment:?}");
}

/// The first try is carried out whole though nobody waits for it, and the retry hears of it.
async fn is_carried_out_once(tandem: &Tandem, moment: Moment, asked: Write) {
    leave_at(tandem, moment, &asked).await;
    // It comes to the lane behind the first.
    let retry = asked.clone().send(tandem.commands()).await.unwrap();
    assert!(retry.replayed, "{moment:?}: the first try was not carried out");
    assert!(asked.is_there(&mut tandem.primary().await).await, "{moment:?}");
    goes_on_well(tandem, moment).await;
}

#[tokio::test]
async fn a_create_whose_caller_leaves_at_any_moment_is_carried_out_whole_and_once() {
    let (_alone, tandem) = alone().await;
    for moment in OF_A_STATEMENT {
        is_carried_out_once(tandem, moment, Write::create()).await;
    }
}

#[tokio::test]
async fn a_batch_whose_caller_leaves_at_any_moment_is_carried_out_whole_and_once() {
    let (_alone, tandem) = alone().await;
    for moment in OF_A_STATEMENT {
        is_carried_out_once(tandem, moment, Write::batch()).await;
    }
}

#[tokio::test]
async fn an_update_whose_caller_leaves_at_any_moment_is_carried_out_whole_and_once() {
    let (_alone, tandem) = alone().await;
    for moment in OF_A_TRANSACTION {
        let asked = Write::update(tandem).await;
        is_carried_out_once(tandem, moment, asked).await;
    }
}

#[tokio::test]
async fn what_is_only_validated_leaves_no_trace_wherever_its_caller_leaves() {
    let (_alone, tandem) = alone().await;
    let mut primary = tandem.primary().await;
    for moment in OF_A_TRANSACTION {
        for asked in [Write::create(), Write::batch(), Write::update(tandem).await] {
            leave_at(tandem, moment, &asked.rehearsed()).await;
            until_command_is_at_rest(&mut primary).await;
            assert!(!asked.is_there(&mut primary).await, "{moment:?}: {asked:?}");
            let answer = asked.clone().send(tandem.commands()).await.unwrap();
            assert!(!answer.replayed, "{moment:?}: a rehearsal has kept its request id");
            assert!(asked.is_there(&mut primary).await, "{moment:?}");
        }
        goes_on_well(tandem, moment).await;
    }
}

#[tokio::test]
async fn a_command_whose_caller_leaves_while_it_waits_for_its_turn_is_carried_out_once() {
    let (_alone, tandem) = alone().await;
    let mut primary = tandem.primary().await;
    let waiting = [Write::create(), Write::batch(), Write::update(tandem).await];
    let held = At(BeforeBegin).hold(tandem).await;
    let before_them = tokio::spawn(Write::create().send(tandem.commands()));
    held.reached(&mut primary).await;
    for asked in &waiting {
        let commands = tandem.commands();
        let call = tokio::spawn(asked.clone().send(commands.clone()));
        // It has its place in the queue once a call behind it on the same connection is answered.
        commands.clone().create_transaction(CreateTransactionRequest::default()).await.unwrap_err();
        leave(call).await;
    }
    held.release().await;
    assert!(!before_them.await.unwrap().unwrap().replayed);
    for asked in waiting {
        assert!(asked.clone().send(tandem.commands()).await.unwrap().replayed, "{asked:?}");
        assert!(asked.is_there(&mut primary).await);
    }
    goes_on_well(tandem, At(BeforeBegin)).await;
}
