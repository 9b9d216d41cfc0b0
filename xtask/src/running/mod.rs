//! The pair that `up` keeps running: what is known of it, who holds it, how it is ended.

mod halt;
mod interrupt;
mod lock;
mod ports;
mod processes;
mod state;

pub use halt::halt;
pub use interrupt::{Interrupt, Interrupted};
pub use lock::UpLock;
pub use ports::{PortArgs, Ports};
pub use processes::{ServiceProcess, alive, health, log_file, log_size};
pub use state::{PostgresState, ReplicaState, RunState, RunStateError, SideState};
