//! What a user needs of a running pair: addresses, and one call for each side to try.

use chrono::{SecondsFormat, Utc};

use crate::running::{ReplicaState, RunState};

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
    let replicas = state.replicas();
    // As wide as the longest name, which "replica-2" is where there is one.
    let width = if replicas.len() == 1 { 7 } else { 9 };
    let query = |replica: &ReplicaState| {
        let ReplicaState { number, query_address, query_metrics_address, .. } = replica;
        let answers = if replicas.len() == 1 { String::new() } else { format!("answers as {}; ", number.name()) };
        let name = number.query_service();
        format!("\n  {name:<width$}  {query_address}  ({answers}metrics http://{query_metrics_address}/metrics)")
    };
    let server = |replica: &ReplicaState| {
        let name = replica.number.cluster();
        format!("\n  {name:<width$}  127.0.0.1:{}  (cargo xtask psql {name})", replica.server.port)
    };
    format!(
        "
  {c:<width$}  {command}  (metrics http://{command_metrics}/metrics){queries}
  {p:<width$}  127.0.0.1:{primary}  (cargo xtask psql primary){servers}

  write    grpcurl -plaintext -d '{sale}' {command} sales.command.v1.SalesCommandService/CreateTransaction
  read     grpcurl -plaintext -d '{{\"page_size\": 3}}' {query} sales.query.v1.SalesQueryService/ListTransactions
  look     cargo xtask status",
        c = "command",
        p = "primary",
        sale = example_sale(),
        command = state.command_address,
        query = state.query_address,
        command_metrics = state.command_metrics_address,
        queries = replicas.iter().map(query).collect::<String>(),
        primary = state.primary.port,
        servers = replicas.iter().map(server).collect::<String>(),
    )
}
