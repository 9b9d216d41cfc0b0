//! Figures from the rollups, and what has to be added to them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::row::{Columns, Row, name};
use crate::{
    domain::{Dimension, FiguresQuestion, Grain, Rollup, Segment},
    store::fold::Horizon,
};

/// What the rollups hold: sales as they looked at the horizon.
pub async fn held(
    connection: &mut PgConnection,
    rollup: &Rollup,
    grouped_by: Dimension,
    segments: &[Segment],
    horizon: &Horizon,
) -> Result<Vec<Row>, sqlx::Error> {
    let columns = Columns::of(segments);
    let grains: Vec<_> = segments.iter().map(|segment| grain(segment.grain).to_owned()).collect();
    sqlx::query_file_as!(
        Row,
        "src/store/figures/of_rollups.sql",
        grouped_by != Dimension::All,
        horizon.generation,
        name(rollup.dimension),
        &columns.steps,
        &grains,
        &columns.starts,
        &columns.ends,
        &rollup.keys,
        rollup.category,
    )
    .fetch_all(connection)
    .await
}

/// As the type `tandem.grain` names it.
const fn grain(grain: Grain) -> &'static str {
    match grain {
        Grain::Day => "day",
        Grain::Hour | Grain::Sale => "hour",
    }
}

/// What sales have become since, less what the rollups hold of them.
pub async fn changed(
    connection: &mut PgConnection,
    question: &FiguresQuestion,
    segments: &[Segment],
    horizon: &Horizon,
    changed: &[Uuid],
) -> Result<Vec<Row>, sqlx::Error> {
    let columns = Columns::of(segments);
    let FiguresQuestion { dimension, filter, .. } = question;
    if question.is_of_items() {
        sqlx::query_file_as!(
            Row,
            "src/store/figures/changed_of_items.sql",
            name(*dimension),
            &columns.steps,
            &columns.starts,
            &columns.ends,
            changed,
            horizon.folded_xid,
            horizon.sweep_xid,
            horizon.sweep_id,
            &filter.categories,
        )
        .fetch_all(connection)
        .await
    } else {
        sqlx::query_file_as!(
            Row,
            "src/store/figures/changed_of_sales.sql",
            name(*dimension),
            &columns.steps,
            &columns.starts,
            &columns.ends,
            changed,
            horizon.folded_xid,
            horizon.sweep_xid,
            horizon.sweep_id,
            &filter.store_ids,
            &filter.payment_methods,
        )
        .fetch_all(connection)
        .await
    }
}
