//! Keeps a pair in order while it is in use: ways back to a replica that holds what its primary holds.
//!
//! | way | what for |
//! | --- | --- |
//! | [`conflicts`] | names the rows of the replica that stop apply, and changes nothing |
//! | [`heal`] | a row of the replica stands where the primary's stream wants to put one: apply fails, for ever |
//! | [`resync`] | one table is built anew beside the one that queries read, and takes its place |
//! | [`rebuild`] | the same with all tables, also where the slot on the primary is lost |
//! | [`apply`] | a column of a published table comes or goes, on both sides in the right order |
//! | [`promote`] | a replica takes its primary's place |
//!
//! Each ends in a comparison of both databases (`tandem_convergence`). All that is asked of the primary a role may do that
//! replicates: no row of the primary is written. The replica's role is its administrator's. `apply` and `promote` are
//! administrators' on both sides.

mod change;
mod command;
mod conflict;
mod error;
mod heal;
mod promote;
mod resync;
mod sides;
mod table;

pub use change::{
    Applied, Change, ChangeFileError, Direction, PairAddresses, Plan, PlannedStep, ReplicaAddress, StepState, apply,
    plan,
};
pub use command::{ApplyArgs, FAILED, HealArgs, Operation, Output, PlanArgs, PromoteArgs, RebuildArgs, ResyncArgs};
pub use conflict::{Conflict, conflicts};
pub use error::UpkeepError;
pub use heal::{Healed, heal};
pub use promote::{GivenUp, Promoted, PromotionPlan, Record, StepTime, give_up, promote};
pub use resync::{Resynced, clean_up, rebuild, resync};
pub use sides::{Addresses, Step};
