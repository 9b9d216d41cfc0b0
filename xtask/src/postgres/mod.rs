//! PostgreSQL on this machine: found or fetched, made into clusters, paired, and lent to tests.

mod cluster;
mod configuration;
mod copy;
mod fetch;
mod leash;
mod locate;
mod pair;
mod passwords;
mod rehearsal;
mod replica_number;
mod server_user;
mod stop;
mod subscription;
mod test_pair;

pub use cluster::{ADMIN_ROLE, Cluster, ClusterSpec, DATABASE, tail};
pub use copy::copy_running;
pub use fetch::{FetchError, fetch};
pub use locate::{Installation, LocateError, OLDEST_MAJOR, Version, locate};
pub use pair::{DEMOTED, Pair, PairSpec, cluster_directories, replicas_on_disk};
pub use passwords::{Login, Passwords};
pub use rehearsal::Rehearsal;
pub use replica_number::ReplicaNumber;
pub use server_user::ServerUser;
pub use stop::{Mode, postmaster, stop};
pub use subscription::{READY_LIMIT, wait_until_ready};
pub use test_pair::{PG_BIN_VARIABLE, TestOptions, TestPair, free_port, installation};
