//! A write that is cut off at each moment of its life: the caller leaves, or the process is killed. What was asked for is
//! there as a whole or not at all, its request id says the same, and a retry makes it exactly once.
//!
//! | file | holds |
//! | --- | --- |
//! | [`write`] | what is asked for, and whether it is there |
//! | [`moment`] | how a write is held at a moment of its life |
//! | [`cancelled`] | the caller leaves |
//! | [`killed`] | the process is killed |
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod cancelled;
mod killed;
mod moment;
mod write;

use tandem_tests::Tandem;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use xtask::postgres::{TestOptions, TestPair};

/// Failpoints belong to the process and locks to the database: one test at a time. One lane, so that the next caller
/// comes to the connection that the one before has left.
async fn alone() -> (MutexGuard<'static, ()>, &'static Tandem) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    static TANDEM: OnceCell<Tandem> = OnceCell::const_new();
    let alone = ONE_AT_A_TIME.lock().await;
    let start = || async {
        let pair = TestPair::start(TestOptions::default()).await.unwrap();
        Tandem::serve(pair, &["--lanes", "1"]).await.unwrap()
    };
    let tandem = TANDEM.get_or_init(start).await;
    // A test that failed while commits were held must not hold the next.
    moment::confirm_commits(&mut tandem.primary().await).await;
    (alone, tandem)
}
