//! Ways back to a replica that holds what its primary holds, while both are in use.
//!
//! | way | what for |
//! | --- | --- |
//! | [`heal`] | a row of the replica stands where the primary's stream wants to put one: apply fails, for ever |
//!
//! Each ends in a comparison of both databases (`tandem_convergence`). All that is asked of the primary a role may do that
//! replicates: no row of the primary is written. The replica's role is its administrator's.

mod command;
mod conflict;
mod error;
mod heal;
mod sides;
mod table;

pub use command::{FAILED, HealArgs, Operation, Output};
pub use conflict::Conflict;
pub use error::HealingError;
pub use heal::{Healed, heal};
pub use sides::{Addresses, Step};
