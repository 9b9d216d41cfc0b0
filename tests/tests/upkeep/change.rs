//! The shape of a published table changes on both sides, while they are in use.

use tandem_convergence::Options;
use tandem_tests::Tandem;
use tandem_upkeep::{Change, Direction, PairAddresses, Plan, ReplicaAddress, StepState, UpkeepError, apply, plan};
use xtask::postgres::Login;

use super::{alone, count, killed_at_each_step, run, traffic::Traffic};

const ORIGIN: &str = r#"
    table = "sales.sales_item"
    column = "origin"
    type = "character varying(40)"
    default = "'new'"
    backfill = "'old ' || product_code"
"#;

/// More than two batches of old rows.
pub const OLD_ROWS: &str = "
    with sale as (
        insert into sales.sales_transaction
        select gen_random_uuid(), now(), 1, 41, 'cash', 2, 0, null, now(), now(), 1 from generate_series(1, 2500)
        returning transaction_id
    )
    insert into sales.sales_item
    select gen_random_uuid(), transaction_id, 'OLD', 'Old', null, 1, 2, 0, 2 from sale";

fn pair(tandem: &Tandem) -> PairAddresses {
    let subscription = "tandem_subscription".to_owned();
    let replica = ReplicaAddress { url: tandem.pair.url(Login::ReplicaAdmin), subscription };
    PairAddresses { primary_url: tandem.pair.url(Login::PrimaryAdmin), replicas: vec![replica] }
}

fn left(plan: &Plan) -> Vec<&str> {
    let steps = plan.steps.iter().filter(|step| step.state != StepState::Done);
    steps.map(|step| step.what.as_str()).collect()
}

#[tokio::test]
async fn a_column_comes_is_filled_and_goes_while_callers_write_and_both_sides_are_equal_after_each() {
    let tandem = alone().await;
    run(&mut tandem.primary().await, OLD_ROWS).await;
    let (pair, options) = (pair(&tandem), Options::default());
    let change = Change::parse(ORIGIN).unwrap();
    let traffic = Traffic::start(&tandem).await;

    let before = plan(&pair, &change, Direction::Expand).await.unwrap();
    assert_eq!((before.drift.len(), left(&before).len()), (0, 5), "{before:?}");
    // Cut off at each of its steps and run again, it goes on.
    let (_, brought) =
        killed_at_each_step(|observe| apply(&pair, &change, Direction::Expand, &options, |_| true, observe)).await;
    traffic.end().await;
    assert!(brought.plan.is_done() && brought.verify[0].equal, "{brought:?}");
    let mut replica = tandem.replica().await;
    let filled = "select count(*) from sales.sales_item where product_code = 'OLD' and origin = 'old OLD'";
    assert_eq!(count(&mut replica, filled).await, 2_500);
    assert_eq!(
        count(&mut tandem.primary().await, "select count(*) from sales.sales_item where origin is null").await,
        0
    );
    let new = "select count(*) from sales.sales_item where origin = 'new'";
    assert!(count(&mut replica, new).await > 0, "what callers wrote meanwhile has the default");

    let traffic = Traffic::start(&tandem).await;
    let (_, taken) =
        killed_at_each_step(|observe| apply(&pair, &change, Direction::Contract, &options, |_| true, observe)).await;
    traffic.end().await;
    assert!(taken.plan.is_done() && taken.verify[0].equal, "{taken:?}");
    let columns = "select count(*) from information_schema.columns where column_name = 'origin'";
    assert_eq!(count(&mut replica, columns).await, 0);
    assert_eq!(count(&mut tandem.primary().await, columns).await, 0);
}

#[tokio::test]
async fn sides_that_have_drifted_apart_are_named_and_left_as_they_are() {
    let tandem = alone().await;
    let (pair, options) = (pair(&tandem), Options::default());
    let change = Change::parse("table = 'sales.sales_item'\ncolumn = 'colour'\ntype = 'text'").unwrap();
    let (mut primary, mut replica) = (tandem.primary().await, tandem.replica().await);
    let drift = async |expected: &str| {
        let planned = plan(&pair, &change, Direction::Expand).await.unwrap();
        assert!(planned.drift.iter().any(|drift| drift.contains(expected)), "{expected}: {:?}", planned.drift);
        let refused = apply(&pair, &change, Direction::Expand, &options, |_| true, |_| ()).await;
        assert!(matches!(refused, Err(UpkeepError::Drifted { .. })), "{expected}: {refused:?}");
    };

    run(&mut primary, "alter table sales.sales_item add column colour text").await;
    drift("the primary has sales.sales_item.colour and the replica of tandem_subscription does not").await;
    run(&mut replica, "alter table sales.sales_item add column colour integer").await;
    drift("sales.sales_item.colour is integer on the replica of tandem_subscription, and text in the change").await;
    run(&mut primary, "alter table sales.sales_item drop column colour").await;
    run(&mut replica, "alter table sales.sales_item drop column colour").await;

    run(&mut primary, "alter table sales.sales_item add column stray text").await;
    drift("the primary has sales.sales_item.stray, which is not published").await;
    run(&mut primary, "alter table sales.sales_item drop column stray").await;

    run(&mut primary, "select pg_create_logical_replication_slot('elsewhere', 'pgoutput')").await;
    drift("slot elsewhere on the primary is of a replica that was not named").await;
    run(&mut primary, "select pg_drop_replication_slot('elsewhere')").await;
    let planned = plan(&pair, &change, Direction::Expand).await.unwrap();
    assert_eq!(planned.drift, [""; 0], "as it was");
}
