//! Compares some rows of a table: stretches of its keys that begin at rows chosen by chance.

use futures::future::try_join;

use crate::course::Known;
use crate::error::CheckError;
use crate::key::{Key, KeyRange};
use crate::pending::Pending;
use crate::readers::listed;
use crate::scan::{Both, Sides};
use crate::search::{Found, Search};

/// Blocks that are looked at for each stretch, so that enough are found where some blocks are empty.
const BLOCKS_A_STRETCH: f64 = 4.0;

/// Compares about `rows` rows of the primary; all of a table that has no more.
pub(crate) async fn read(sides: &mut Sides, search: &Search<'_>, rows: u64) -> Result<Known, CheckError> {
    let table = search.table;
    let primary = sides.primary.first();
    let (estimated, blocks) = (primary.estimated_rows(table).await?, primary.blocks(table).await?);
    let stretches = rows.div_ceil(search.range_size);
    let (mut known, mut found) = (Known { read: true, ..Known::default() }, Found::default());
    let ranges = if estimated >= 0.0 && estimated <= rows as f64 || blocks == 0 {
        vec![KeyRange::ALL]
    } else {
        known.sampled_of = Some(estimated.max(0.0) as u64);
        let percent = (100.0 * BLOCKS_A_STRETCH * stretches as f64 / blocks as f64).min(100.0);
        let starts = primary.anywhere(table, percent, stretches).await?;
        stretches_from(sides, search, starts).await?
    };
    let set_aside = listed(search.set_aside);
    let mut all = Both::default();
    for range in ranges {
        let (primary, replica) = (sides.primary.first(), sides.replica.first());
        let sums = try_join(search.sums(primary, &range, &set_aside), search.sums(replica, &range, &set_aside));
        let (primary, replica) = sums.await?;
        let both = Both { primary, replica };
        all.primary += primary;
        all.replica += replica;
        if both.differ() {
            let part = search.run(sides, range, both).await?;
            found.rows.extend(part.rows);
            found.more |= part.more;
        }
        if found.rows.len() > search.most {
            found.more = true;
            break;
        }
    }
    found.rows.truncate(search.most);
    known.rows = all.primary.rows.unsigned_abs();
    known.both = Some(all);
    known.more = found.more;
    // Rows that were set aside are looked at wherever they lie.
    known.pending = Pending::of(search.set_aside, found.rows);
    Ok(known)
}

/// From each of these keys on so many rows as are compared one by one; no row twice.
async fn stretches_from(sides: &mut Sides, search: &Search<'_>, starts: Vec<Key>) -> Result<Vec<KeyRange>, CheckError> {
    let primary = sides.primary.first();
    let mut ranges = Vec::new();
    let mut behind = KeyRange::ALL;
    for start in starts {
        let from_start = KeyRange { from: Some(start), until: None };
        let Some(from) = primary.key_at(search.table, [&from_start, &behind], 0).await? else { break };
        let rest = KeyRange { from: Some(from.clone()), until: None };
        let until = primary.key_at(search.table, [&rest, &KeyRange::ALL], search.range_size).await?;
        ranges.push(KeyRange { from: Some(from), until: until.clone() });
        let Some(until) = until else { break };
        behind = KeyRange { from: Some(until), until: None };
    }
    Ok(ranges)
}
