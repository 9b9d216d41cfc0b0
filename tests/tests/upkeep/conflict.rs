//! A row of the replica stands where the primary's stream puts one.

use serde_json::Value;
use tandem_convergence::Options;
use tandem_proto::sales::command::v1::UpdateItemRequest;
use tandem_tests::{Tandem, database, request};
use tandem_upkeep::heal;

use super::{addresses, alone, count, operate, run, sell};

/// Stops apply for good: a sale that the replica has by another hand before it comes.
async fn stand_in_the_way(tandem: &Tandem, store_id: i32) -> String {
    let mut replica = tandem.replica().await;
    database::disable_subscription(&mut replica).await;
    let sold = sell(tandem, store_id, vec![request::item("LATTE", 2, "3.50"), request::item("TEA", 1, "2.00")]).await;
    let sale = sold.transaction.unwrap();
    let by_hand = format!(
        "insert into sales.sales_item (item_id, transaction_id, product_code, product_name, quantity, unit_price, discount,
            total_price)
        values ('{}', '{}', 'BY-HAND', 'By hand', 1, 1, 0, 1)",
        sale.items[1].item_id, sale.transaction_id
    );
    run(&mut replica, &by_hand).await;
    // More comes behind it.
    sell(tandem, store_id, vec![request::item("JUICE", 1, "4.00")]).await;
    database::enable_subscription(&mut replica).await;
    let failed = "select apply_error_count > 0 from pg_stat_subscription_stats";
    database::until(&mut replica, "apply fails", failed).await;
    sale.items[1].item_id.clone()
}

#[tokio::test]
async fn one_command_names_the_row_that_stops_apply_and_sets_it_aside_and_both_sides_are_equal() {
    let tandem = alone().await;
    let item_id = stand_in_the_way(&tandem, 11).await;

    let asked = operate(&tandem, &["heal"]).await;
    let plan = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(1), "nobody has agreed: {plan}");
    assert!(plan.contains(&item_id) && plan.contains("sales.sales_item") && plan.contains("BY-HAND"), "{plan}");
    assert!(plan.contains("TEA"), "what the primary sends is shown: {plan}");
    let mut replica = tandem.replica().await;
    let kept = "select contents from tandem.set_aside where key ->> 'item_id' = $1";
    let none: Option<Value> = sqlx::query_scalar(kept).bind(&item_id).fetch_optional(&mut replica).await.unwrap();
    assert_eq!(none, None, "nothing was moved");

    let healed = operate(&tandem, &["heal", "--yes", "--output", "json"]).await;
    assert_eq!(healed.status.code(), Some(0), "{}", String::from_utf8_lossy(&healed.stderr));
    let report: Value = serde_json::from_slice(&healed.stdout).unwrap();
    assert_eq!(report["verify"]["equal"], true, "rollups are compared, too: {report}");
    assert_eq!(report["rows"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["rows"][0]["key"]["item_id"], Value::String(item_id.clone()));
    let kept: Value = sqlx::query_scalar(kept).bind(&item_id).fetch_one(&mut replica).await.unwrap();
    assert_eq!(kept["product_code"], "BY-HAND");

    // There is nothing left to do, which is no failure.
    let again = operate(&tandem, &["heal", "--yes", "--output", "json"]).await;
    let report: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), report["rows"].as_array().unwrap().len()), (Some(0), 0), "{report}");
    let slots = "select count(*) from pg_replication_slots where slot_name like 'tandem_upkeep%'";
    assert_eq!(count(&mut tandem.primary().await, slots).await, 0, "no slot is left behind");
}

#[tokio::test]
async fn rows_that_the_primary_changes_while_apply_is_stuck_are_in_nobodys_way() {
    let tandem = alone().await;
    let sold = sell(&tandem, 12, vec![request::item("MUFFIN", 1, "2.50")]).await;
    let sale = sold.transaction.unwrap();
    let mut replica = tandem.replica().await;
    let applied = "select exists (select from sales.sales_transaction where store_id = 12)";
    database::until(&mut replica, "the sale is applied", applied).await;
    let item_id = stand_in_the_way(&tandem, 13).await;
    // An update of a row that the replica has is no conflict, and what the insert beside it brings is one.
    let update = UpdateItemRequest {
        transaction_id: sale.transaction_id.clone(),
        item: Some(tandem_proto::sales::v1::SalesItem {
            item_id: sale.items[0].item_id.clone(),
            quantity: 3,
            ..request::item("MUFFIN", 3, "2.50")
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["quantity".to_owned()] }),
        ..UpdateItemRequest::default()
    };
    tandem.commands().update_item(update).await.unwrap();
    // Nor is a row that goes and comes back.
    let columns =
        "item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price";
    let again = format!(
        "create temporary table kept as select {columns} from sales.sales_item where item_id = '{0}';
        delete from sales.sales_item where item_id = '{0}';
        insert into sales.sales_item ({columns}) select {columns} from kept",
        sale.items[0].item_id
    );
    run(&mut tandem.primary().await, &again).await;
    let healed = heal(&addresses(&tandem), &Options::default(), |_| true, |_| ()).await.unwrap();
    let named: Vec<_> = healed.rows.iter().map(|row| row.key["item_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named, [item_id]);
    assert!(healed.verify.unwrap().equal);
}
