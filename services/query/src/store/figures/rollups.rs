//! Figures from the rollups, and what has to be added to them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::row::{Columns, Row, Sums, name};
use crate::{
    domain::{Dimension, FiguresQuestion, Grain, Rollup, Segment},
    store::fold::Horizon,
};

/// Adds what the rollups hold: sales as they looked at the horizon.
pub async fn add_held(
    sums: &mut Sums,
    connection: &mut PgConnection,
    rollup: &Rollup,
    grouped_by: Dimension,
    segments: &[Segment],
    horizon: &Horizon,
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(segments);
    let Stretches { grains, starts, ends } = Stretches::of(segments);
    macro_rules! fetch {
        ($file:literal) => {
            sqlx::query_file_as!(
                Row,
                $file,
                grouped_by != Dimension::All,
                horizon.generation,
                name(rollup.dimension),
                &columns.steps,
                &columns.starts,
                &grains,
                &starts,
                &ends,
                &rollup.keys,
                rollup.category,
            )
            .fetch(connection)
        };
    }
    if segments.iter().all(is_one_bucket) {
        sums.add_all(fetch!("src/store/figures/each_of_rollups.sql")).await
    } else {
        sums.add_all(fetch!("src/store/figures/of_rollups.sql")).await
    }
}

/// Whether all that the rollups hold of a segment is one row a key.
fn is_one_bucket(segment: &Segment) -> bool {
    segment.end - segment.start == bucket(segment.grain)
}

const fn bucket(grain: Grain) -> TimeDelta {
    match grain {
        Grain::Day => TimeDelta::days(1),
        Grain::Hour | Grain::Sale => TimeDelta::hours(1),
    }
}

/// Neighbouring segments of one grain as one: each is looked up by itself.
struct Stretches {
    grains: Vec<String>,
    starts: Vec<DateTime<Utc>>,
    ends: Vec<DateTime<Utc>>,
}

impl Stretches {
    fn of(segments: &[Segment]) -> Self {
        let mut sorted = segments.to_vec();
        sorted.sort_unstable_by_key(|segment| (bucket(segment.grain), segment.start));
        let stretches = sorted.chunk_by(|one, next| one.grain == next.grain && one.end == next.start);
        let (mut grains, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for stretch in stretches {
            grains.push(grain(stretch[0].grain).to_owned());
            starts.push(stretch[0].start);
            ends.push(stretch[stretch.len() - 1].end);
        }
        Self { grains, starts, ends }
    }
}

/// As the type `tandem.grain` names it.
const fn grain(grain: Grain) -> &'static str {
    match grain {
        Grain::Day => "day",
        Grain::Hour | Grain::Sale => "hour",
    }
}

/// Adds what sales have become since, less what the rollups hold of them.
pub async fn add_changed(
    sums: &mut Sums,
    connection: &mut PgConnection,
    question: &FiguresQuestion,
    segments: &[Segment],
    horizon: &Horizon,
    changed: &[Uuid],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(segments);
    let FiguresQuestion { dimension, filter, .. } = question;
    if question.is_of_items() {
        let rows = sqlx::query_file_as!(
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
        .fetch(connection);
        sums.add_all(rows).await
    } else {
        let rows = sqlx::query_file_as!(
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
        .fetch(connection);
        sums.add_all(rows).await
    }
}
