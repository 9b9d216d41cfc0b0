//! What a user needs of a running pair: addresses, and one call for each side to try.

use crate::running::RunState;

/// A sale that anybody can send as it is.
const EXAMPLE_SALE: &str = r#"{"transaction": {"cashier_id": 1, "store_id": 1, "payment_method": "cash", "items": [{"product_code": "COF-001", "product_name": "Espresso", "category": "Beverages", "quantity": 2, "unit_price": {"currency_code": "USD", "units": 3}}]}}"#;

/// The summary, without how to stop.
pub(super) fn of(state: &RunState) -> String {
    format!(
        "
  command  {command}  (metrics http://{command_metrics}/metrics)
  query    {query}  (metrics http://{query_metrics}/metrics)
  primary  127.0.0.1:{primary}  (cargo xtask psql primary)
  replica  127.0.0.1:{replica}  (cargo xtask psql replica)

  write    grpcurl -plaintext -d '{EXAMPLE_SALE}' {command} sales.command.v1.SalesCommandService/CreateTransaction
  read     grpcurl -plaintext -d '{{\"page_size\": 3}}' {query} sales.query.v1.SalesQueryService/ListTransactions
  look     cargo xtask status",
        command = state.command_address,
        query = state.query_address,
        command_metrics = state.command_metrics_address,
        query_metrics = state.query_metrics_address,
        primary = state.primary.port,
        replica = state.replica.port,
    )
}
