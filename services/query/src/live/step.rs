//! Reading what changed between two horizons, page by page.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tandem_chassis::{database::DatabaseError, deadline::Deadline};
use tandem_replication::SystemIdentity;
use uuid::Uuid;

use super::{WatchEnd, can_be_told};
use crate::{
    domain::{Change, WatchPosition},
    store::{Replica, changes::Present},
};

/// For one question to the replica: a page takes milliseconds, finding a hundred thousand sales among many a second.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(10);
/// Sales that are looked for at once. Each search looks at all that changed in the step: the larger, the fewer searches;
/// their ids take a megabyte.
const MOST_FOUND: usize = 65_536;
/// Sales of a page: some hundred kilobytes in most shops, and the unit in which slow readers fall behind.
const PAGE_SALES: usize = 200;

/// Some of the changes of a step.
#[derive(Debug)]
pub struct Page {
    /// The step that they are of.
    pub from_xid: i64,
    /// Where it ends.
    pub until_xid: i64,
    /// In the order of their sales' ids; one a sale.
    pub changes: Vec<Change>,
    /// Where one is who has been told them.
    pub end: WatchPosition,
}

/// What changed between two horizons, or what is left of it.
#[derive(Debug)]
pub struct Step {
    position: WatchPosition,
    found: VecDeque<Uuid>,
    all_found: bool,
}

impl Step {
    /// All that changed between two horizons.
    pub const fn between(from_xid: i64, until_xid: i64) -> Self {
        Self::behind(WatchPosition { from_xid, until_xid, after: Uuid::nil() })
    }

    /// What is left of a step behind a position in it.
    pub const fn behind(position: WatchPosition) -> Self {
        Self { position, found: VecDeque::new(), all_found: !position.is_within_a_step() }
    }

    /// The next page, which may have no changes; `None` behind the last one. After a failure of the replica it may be
    /// asked again.
    pub async fn next(&mut self, replica: &Replica, identity: SystemIdentity) -> Result<Option<Page>, WatchEnd> {
        let WatchPosition { from_xid, until_xid, after } = self.position;
        let step = (from_xid, until_xid);
        if self.found.is_empty() && !self.all_found {
            let most = i64::try_from(MOST_FOUND).unwrap_or(i64::MAX);
            let deadline = Deadline::after(QUESTION_LIMIT);
            let (present, found) = replica.touched(step, after, most, deadline).await.map_err(Arc::new)?;
            self.check(&present, identity)?;
            self.all_found = found.len() < MOST_FOUND;
            self.found = found.into();
        }
        let sales: Vec<_> = self.found.iter().take(PAGE_SALES).copied().collect();
        let Some(&last) = sales.last() else { return Ok(None) };
        let count = sales.len();
        let (present, changes) =
            replica.changes(sales, step, Deadline::after(QUESTION_LIMIT)).await.map_err(Arc::new)?;
        self.check(&present, identity)?;
        self.found.drain(..count);
        self.position.after = last;
        let is_last = self.found.is_empty() && self.all_found;
        let end = if is_last { WatchPosition::at(until_xid) } else { self.position };
        Ok(Some(Page { from_xid, until_xid, changes, end }))
    }

    fn check(&self, present: &Present, identity: SystemIdentity) -> Result<(), WatchEnd> {
        if present.replica != identity {
            return Err(WatchEnd::AnotherReplica);
        }
        can_be_told(self.position, present)
    }
}

/// Where horizons are now, unless the replica is another one.
pub async fn present(replica: &Replica) -> Result<Present, Arc<DatabaseError>> {
    replica.present(Deadline::after(QUESTION_LIMIT)).await.map_err(Arc::new)
}
