//! What Prometheus is told of an observation. `deploy/alerts/tandem.rules.yaml` asks for these names.
//!
//! A figure that is not known is not a number: the last one that was would look like news.

use chrono::Utc;
use metrics::{counter, gauge};
use tandem_replication::{Slot, State, Subscription, TableState};

use super::{Observation, PrimaryAnswer};
use crate::store::fold::Backlog;

/// As `pg_replication_slots` has them.
const WAL_STATUSES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// Tells everything.
pub fn tell(observation: &Observation) {
    gauge!("tandem_replication_replica_reachable").set(1.0);
    gauge!("tandem_replication_looked_timestamp_seconds").set(Utc::now().timestamp_millis() as f64 / 1_000.0);
    let verdict = &observation.verdict;
    for state in State::ALL {
        gauge!("tandem_replication_state", "state" => state.as_str()).set(number(verdict.state == state));
    }
    gauge!("tandem_replication_still_seconds").set(verdict.still_for.as_secs_f64());
    let behind = observation.behind().map_or(f64::NAN, |behind| behind.as_secs_f64());
    gauge!("tandem_replication_behind_seconds").set(behind);
    tell_subscription(observation.replica.subscription.as_ref());
    tell_primary(observation);
}

/// How far the rollups are; `None`: that can't be counted.
pub fn tell_rollups(backlog: Option<Backlog>) {
    // While there is nothing to fold, the rollups are as of now.
    let age = |backlog: Backlog| match backlog.sales {
        0 => 0.0,
        _ => (Utc::now() - backlog.folded_at).as_seconds_f64().max(0.0),
    };
    gauge!("tandem_rollup_backlog_sales").set(backlog.map_or(f64::NAN, |backlog| backlog.sales as f64));
    gauge!("tandem_rollup_age_seconds").set(backlog.map_or(f64::NAN, age));
}

/// The replica has not answered: of what it would have said nothing is known.
pub fn tell_nothing() {
    gauge!("tandem_replication_replica_reachable").set(0.0);
    for state in State::ALL {
        gauge!("tandem_replication_state", "state" => state.as_str()).set(f64::NAN);
    }
    for name in [
        "tandem_replication_still_seconds",
        "tandem_replication_behind_seconds",
        "tandem_replication_subscribed",
        "tandem_replication_subscription_enabled",
        "tandem_replication_apply_worker_running",
    ] {
        gauge!(name).set(f64::NAN);
    }
    for state in ["ready", "not_ready"] {
        gauge!("tandem_replication_tables", "state" => state).set(f64::NAN);
    }
    tell_rollups(None);
}

fn tell_subscription(subscription: Option<&Subscription>) {
    gauge!("tandem_replication_subscribed").set(number(subscription.is_some()));
    let Some(subscription) = subscription else { return };
    gauge!("tandem_replication_subscription_enabled").set(number(subscription.enabled));
    gauge!("tandem_replication_apply_worker_running").set(number(subscription.progress.running));
    counter!("tandem_replication_apply_errors_total").absolute(subscription.apply_errors.unsigned_abs());
    counter!("tandem_replication_sync_errors_total").absolute(subscription.sync_errors.unsigned_abs());
    for found in &subscription.conflicts {
        counter!("tandem_replication_conflicts_total", "kind" => found.kind.clone())
            .absolute(found.count.unsigned_abs());
    }
    let ready = subscription.tables.iter().filter(|table| table.state == TableState::Ready).count();
    gauge!("tandem_replication_tables", "state" => "ready").set(ready as f64);
    gauge!("tandem_replication_tables", "state" => "not_ready").set((subscription.tables.len() - ready) as f64);
}

fn tell_primary(observation: &Observation) {
    let reached = match &observation.primary {
        PrimaryAnswer::NotConfigured => return,
        PrimaryAnswer::Unreachable => None,
        PrimaryAnswer::Reached(look) => Some(look),
    };
    gauge!("tandem_replication_primary_reachable").set(number(reached.is_some()));
    let known = |count: usize| if reached.is_some() { count as f64 } else { f64::NAN };
    gauge!("tandem_replication_orphan_slots").set(known(observation.orphans.len()));
    let kept: i64 = observation.orphans.iter().map(|slot| slot.retained_wal_bytes).sum();
    gauge!("tandem_replication_orphan_slots_wal_bytes").set(reached.map_or(f64::NAN, |_| kept as f64));
    let stopping = observation.drifts.iter().filter(|drift| drift.kind.stops_apply()).count();
    gauge!("tandem_replication_drifts", "stops_apply" => "true").set(known(stopping));
    gauge!("tandem_replication_drifts", "stops_apply" => "false").set(known(observation.drifts.len() - stopping));
    let limit = reached.and_then(|look| look.slot_wal_limit);
    gauge!("tandem_replication_slot_wal_limit_bytes").set(limit.map_or(f64::NAN, |bytes| bytes as f64));
    gauge!("tandem_replication_slot_present").set(known(usize::from(observation.slot().is_some())));
    tell_slot(observation.slot());
}

fn tell_slot(slot: Option<&Slot>) {
    let of = |figure: fn(&Slot) -> f64| slot.map_or(f64::NAN, figure);
    gauge!("tandem_replication_slot_active").set(of(|slot| number(slot.active)));
    gauge!("tandem_replication_slot_retained_wal_bytes").set(of(|slot| slot.retained_wal_bytes as f64));
    let safe = slot.and_then(|slot| slot.safe_wal_bytes);
    gauge!("tandem_replication_slot_safe_wal_bytes").set(safe.map_or(f64::NAN, |bytes| bytes as f64));
    for status in WAL_STATUSES {
        let is = slot.map_or(f64::NAN, |slot| number(slot.wal_status.as_deref() == Some(status)));
        gauge!("tandem_replication_slot_wal_status", "status" => status).set(is);
    }
}

fn number(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}
