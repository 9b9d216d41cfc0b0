//! `tandem-verify --every`: rounds go on whatever comes in between, until it is told to end.

use sqlx::PgConnection;
use tandem_tests::database::until;
use tandem_tests::program::{self, Program};
use xtask::postgres::DATABASE;

use crate::program::{BEGUN, NO_SLOT};
use crate::{Shop, run};

/// Whether the metrics have each of these lines.
async fn told(verifier: &Program, lines: &[&str]) {
    let metrics = verifier.scrape().await.unwrap();
    for line in lines {
        assert!(metrics.lines().any(|told| told == *line), "{line}\n{metrics}");
    }
}

async fn another_session(shop: &Shop) -> PgConnection {
    shop.pair.replica().connect(DATABASE).await.unwrap()
}

#[tokio::test]
async fn rounds_go_on_through_what_they_can_not_check_and_end_at_sigterm_without_a_slot() {
    let mut shop = Shop::open().await;
    let verifier = Program::spawn(program::verifier(&shop.pair, "200ms", 20).await.unwrap()).await.unwrap();
    let equal = async |rows: i64| {
        verifier.line(|line| line["message"] == "both sides are equal" && line["rows"] == rows).await.unwrap()
    };
    equal(1_001).await;
    let rows = r#"tandem_convergence_compared_rows{table="shop.receipt"} 1000"#;
    let missing = |rows| format!(r#"tandem_convergence_differences{{table="shop.receipt",kind="missing"}} {rows}"#);
    told(&verifier, &["tandem_convergence_equal 1", "tandem_convergence_every_seconds 0.2", rows, &missing(0)]).await;

    shop.on_replica("delete from shop.receipt where id = 4").await;
    let differs = verifier.line(|line| line["message"] == "rows differ").await.unwrap();
    assert_eq!((&differs["table"], &differs["rows"]), (&"shop.receipt".into(), &"missing 4".into()));
    verifier.line(|line| line["message"] == "the sides differ").await.unwrap();
    told(&verifier, &["tandem_convergence_equal 0", &missing(1)]).await;

    shop.on_primary("alter publication tandem_publication rename to hidden").await;
    let error = verifier.line(|line| line["message"] == "could not check").await.unwrap();
    assert!(error["error"].as_str().unwrap().contains("names no table"), "{error}");
    // What was found stands until something else is.
    told(&verifier, &["tandem_convergence_equal 0"]).await;
    shop.on_primary("alter publication hidden rename to tandem_publication").await;
    shop.on_primary("delete from shop.receipt where id = 4; insert into shop.line (id, amount) values (1, 1), (2, 2)")
        .await;
    equal(1_002).await;
    told(&verifier, &["tandem_convergence_equal 1", &missing(0)]).await;

    let mut blocker = another_session(&shop).await;
    run(&mut blocker, "begin; lock table shop.line in share row exclusive mode").await;
    shop.on_primary("insert into shop.line (id, amount) values (3, 3)").await;
    until(&mut shop.primary, "a fence can't begin", BEGUN).await;
    verifier.terminate().unwrap();
    let (status, log) = verifier.ended().await.unwrap();
    assert!(status.success(), "{log:?}");
    let gone: bool = sqlx::query_scalar(NO_SLOT).fetch_one(&mut shop.primary).await.unwrap();
    assert!(gone, "the slot went before the program did");
    run(&mut blocker, "rollback").await;
}
