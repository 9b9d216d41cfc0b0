//! Rollups: figures that are summed up already.
//!
//! | file | what |
//! | --- | --- |
//! | [`folder`] | takes sales into the rollups, while the service runs |
//! | [`rebuild`] | builds them anew beside the ones that queries read, and swaps |

mod folder;
mod rebuild;

pub use folder::Folder;
pub use rebuild::{Progress, RebuildError, rebuild};

/// Sales of one step: a second's work, and some tens of megabytes in the database.
const STEP_SALES: i64 = 10_000;
