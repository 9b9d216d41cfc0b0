//! Takes commands, one database transaction each.

use std::sync::Arc;

use tandem_chassis::deadline::Deadline;
use tokio::sync::Notify;

use crate::{
    domain::Command,
    store::{Receipt, Store, StoreError},
};

/// Carries commands out. Clones share the store.
#[derive(Clone)]
pub struct Committer {
    store: Store,
    committed: Arc<Notify>,
}

impl Committer {
    /// Writes to `store`.
    pub fn new(store: Store) -> Self {
        Self { store, committed: Arc::default() }
    }

    /// Carries the command out as a whole or not at all, and says what was done.
    pub async fn submit(&self, command: Command, deadline: Deadline) -> Result<Receipt, StoreError> {
        let receipt = self.store.execute(command, deadline).await?;
        self.committed.notify_one();
        Ok(receipt)
    }

    /// Ends after the next commit, or at once when there was one since the last call.
    pub(super) async fn committed(&self) {
        self.committed.notified().await;
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }
}
