//! The commands as an operator meets them: what is asked, what is printed, and how it ends. The services' programs,
//! `tandem-migrate` and `cargo xtask` share them.

mod healing;
mod migrating;
mod operation;
mod promoting;
mod rebuilding;

pub use healing::HealArgs;
pub use migrating::{ApplyArgs, PlanArgs};
pub use operation::{FAILED, Operation, Output};
pub use promoting::PromoteArgs;
pub use rebuilding::{RebuildArgs, ResyncArgs};
