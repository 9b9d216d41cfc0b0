//! The steps of a change, in the order in which every replica can follow.

use serde::Serialize;
use sqlx::AssertSqlSafe;
use tandem_convergence::Side;

use super::back_fill::back_fill;
use super::file::Change;
use super::pair::{Pair, alter};
use super::standing::Standing;
use crate::error::{UpkeepError, on};
use crate::sides::{Step, publication};
use crate::table::{listed, quoted, relation};

/// Whether the column comes or goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It comes: replicas, primary, publication.
    Expand,
    /// It goes: publication, primary, replicas.
    Contract,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Both sides show it.
    Done,
    /// It is the next one.
    Due,
    /// Others come before it.
    Later,
}

/// A step of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// On which side.
    pub side: &'static str,
    /// What is done, for people.
    pub what: String,
    /// Where it stands.
    pub state: StepState,
    #[serde(skip)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    AddOnReplicas,
    AddOnPrimary,
    Publish,
    SetDefault,
    BackFill,
    Withdraw,
    DropOnPrimary,
    DropOnReplicas,
}

/// The steps, and where each stands.
pub(super) fn states(standing: &Standing, change: &Change, direction: Direction) -> Vec<PlannedStep> {
    let on_replicas = standing.replicas_have(change);
    let (on_primary, published) = (standing.primary_has(change), standing.is_published(change));
    let column = format!("{}.{}", change.table, change.column);
    let steps = match direction {
        Direction::Expand => {
            let mut steps = vec![
                (
                    Kind::AddOnReplicas,
                    "replica",
                    format!("add {column} {}", change.data_type),
                    on_replicas.iter().all(|has| *has),
                ),
                (Kind::AddOnPrimary, "primary", format!("add {column} {}", change.data_type), on_primary),
                (Kind::Publish, "both", format!("publish {column}, and refresh the subscriptions"), published),
            ];
            if let Some(default) = &change.default {
                let what = format!("give {column} the default {default} for new rows");
                steps.push((Kind::SetDefault, "primary", what, standing.has_default));
            }
            if let Some(value) = &change.backfill {
                let what = format!("fill {column} with {value} in old rows");
                steps.push((Kind::BackFill, "primary", what, standing.has_default && !standing.is_unfilled));
            }
            steps
        }
        Direction::Contract => vec![
            (Kind::Withdraw, "both", format!("publish {column} no longer, and refresh the subscriptions"), !published),
            (Kind::DropOnPrimary, "primary", format!("drop {column}"), !on_primary),
            (Kind::DropOnReplicas, "replica", format!("drop {column}"), !on_replicas.iter().any(|has| *has)),
        ],
    };
    let mut is_next = true;
    let planned = steps.into_iter().map(|(kind, side, what, is_done)| {
        let state = match is_done {
            true => StepState::Done,
            false if std::mem::take(&mut is_next) => StepState::Due,
            false => StepState::Later,
        };
        PlannedStep { side, what, state, kind }
    });
    planned.collect()
}

/// Carries a step out, and gives how many rows were filled.
pub(super) async fn carry_out(
    pair: &mut Pair,
    change: &Change,
    step: &PlannedStep,
    observe: &(impl Fn(&Step) + Sync),
) -> Result<u64, UpkeepError> {
    let (table, column) = (change.relation(), quoted(&change.column));
    let add = format!("alter table {table} add column if not exists {column} {}", change.data_type);
    let remove = format!("alter table {table} drop column if exists {column}");
    match step.kind {
        Kind::AddOnReplicas => {
            for (replica, _) in &mut pair.replicas {
                alter(replica, Side::Replica, &add).await?;
            }
        }
        Kind::AddOnPrimary => alter(&mut pair.primary, Side::Primary, &add).await?,
        Kind::Publish => publish(pair, change, true).await?,
        Kind::SetDefault => {
            let default = change.default.as_deref().unwrap_or("null");
            let set = format!("alter table {table} alter column {column} set default {default}");
            alter(&mut pair.primary, Side::Primary, &set).await?;
        }
        Kind::BackFill => return back_fill(&mut pair.primary, change, observe).await,
        Kind::Withdraw => publish(pair, change, false).await?,
        Kind::DropOnPrimary => alter(&mut pair.primary, Side::Primary, &remove).await?,
        Kind::DropOnReplicas => {
            // Changes from before the column was withdrawn still bring it.
            pair.settle(observe).await?;
            for (replica, _) in &mut pair.replicas {
                alter(replica, Side::Replica, &remove).await?;
            }
        }
    }
    Ok(0)
}

/// Publishes the column, or does so no longer: all tables with their columns in one statement, and then every subscription
/// asks anew what is published.
async fn publish(pair: &mut Pair, change: &Change, with: bool) -> Result<(), UpkeepError> {
    let standing = Standing::of(pair, change).await?;
    let tables = standing.published.iter().map(|table| {
        let mut columns = table.columns.clone();
        if (&*table.schema, &*table.name) == (change.schema(), change.name()) {
            columns.retain(|column| *column != change.column);
            columns.extend(with.then(|| change.column.clone()));
        }
        let filter = table.row_filter.as_ref().map(|filter| format!(" where ({filter})")).unwrap_or_default();
        format!("{} ({}){filter}", relation(&table.schema, &table.name), listed("", &columns))
    });
    let tables = tables.collect::<Vec<_>>().join(", ");
    let set = format!("alter publication {} set table {tables}", quoted(publication()));
    alter(&mut pair.primary, Side::Primary, &set).await?;
    for (replica, address) in &mut pair.replicas {
        let refresh = format!("alter subscription {} refresh publication", quoted(&address.subscription));
        let refreshed = sqlx::raw_sql(AssertSqlSafe(refresh)).execute(replica).await;
        refreshed.map_err(on(Side::Replica, "refreshing the subscription"))?;
    }
    Ok(())
}
