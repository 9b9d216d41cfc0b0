//! What a user needs of a running pair: addresses, and one call for each side to try.

use chrono::{SecondsFormat, Utc};

use crate::running::RunState;

/// How to stop a pair that is watched here.
pub(super) const STOP: &str = "  stop     Ctrl-C, or cargo xtask down";

/// How to stop a pair that another terminal watches.
pub(super) const STOP_ELSEWHERE: &str = "  stop     cargo xtask down, or Ctrl-C where it is watched";

/// How to stop a pair that nobody watches.
pub(super) const STOP_DETACHED: &str = "  stop     cargo xtask down";

/// A sale of this moment that can be sent as it is.
fn example_sale() -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    format!(
        r#"{{"transaction": {{"transaction_time": "{now}", "cashier_id": 1, "store_id": 1, "payment_method": "cash", "items": [{{"product_code": "COF-001", "product_name": "Espresso", "category": "Beverages", "quantity": 2, "unit_price": {{"currency_code": "USD", "units": 3}}}}]}}}}"#
    )
}

/// The summary, without how to stop.
pub(super) fn of(state: &RunState) -> String {
    format!(
        "
  command  {command}  (metrics http://{command_metrics}/metrics)
  query    {query}  (metrics http://{query_metrics}/metrics)
  primary  127.0.0.1:{primary}  (cargo xtask psql primary)
  replica  127.0.0.1:{replica}  (cargo xtask psql replica)

  write    grpcurl -plaintext -d '{sale}' {command} sales.command.v1.SalesCommandService/CreateTransaction
  read     grpcurl -plaintext -d '{{\"page_size\": 3}}' {query} sales.query.v1.SalesQueryService/ListTransactions
  look     cargo xtask status",
        sale = example_sale(),
        command = state.command_address,
        query = state.query_address,
        command_metrics = state.command_metrics_address,
        query_metrics = state.query_metrics_address,
        primary = state.primary.port,
        replica = state.replica.port,
    )
}
