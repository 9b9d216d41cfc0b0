//! The ports of the pair: each by flag and by environment variable, each checked before anything starts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::RangedI64ValueParser;

use super::state::RunState;

/// Ports as asked for; what is not asked for has a default.
#[derive(Debug, Clone, Default, Args)]
pub struct PortArgs {
    /// Port of the primary [default: 5676].
    #[arg(long, env = "TANDEM_PRIMARY_PORT", value_name = "PORT", value_parser = port())]
    pub primary_port: Option<u16>,
    /// Port of the replica [default: 5677].
    #[arg(long, env = "TANDEM_REPLICA_PORT", value_name = "PORT", value_parser = port())]
    pub replica_port: Option<u16>,
    /// Port of the command service [default: 50051].
    #[arg(long, env = "TANDEM_COMMAND_PORT", value_name = "PORT", value_parser = port())]
    pub command_port: Option<u16>,
    /// Port of the query service [default: 50052].
    #[arg(long, env = "TANDEM_QUERY_PORT", value_name = "PORT", value_parser = port())]
    pub query_port: Option<u16>,
    /// Port of the command service's Prometheus metrics [default: 9464].
    #[arg(long, env = "TANDEM_COMMAND_METRICS_PORT", value_name = "PORT", value_parser = port())]
    pub command_metrics_port: Option<u16>,
    /// Port of the query service's Prometheus metrics [default: 9465].
    #[arg(long, env = "TANDEM_QUERY_METRICS_PORT", value_name = "PORT", value_parser = port())]
    pub query_metrics_port: Option<u16>,
}

/// Any but 0, which would let the system choose one that nobody could tell.
fn port() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

/// One port with the names under which it can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Port {
    flag: &'static str,
    variable: &'static str,
    whose: &'static str,
    number: u16,
}

/// The six ports of a pair, all on 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Ports {
    all: [Port; 6],
}

impl Ports {
    /// What is asked for, else the defaults.
    pub fn new(args: &PortArgs) -> Ports {
        let port = |flag, variable, whose, asked: Option<u16>, default| Port {
            flag,
            variable,
            whose,
            number: asked.unwrap_or(default),
        };
        Ports {
            all: [
                port("--primary-port", "TANDEM_PRIMARY_PORT", "the primary", args.primary_port, 5676),
                port("--replica-port", "TANDEM_REPLICA_PORT", "the replica", args.replica_port, 5677),
                port("--command-port", "TANDEM_COMMAND_PORT", "the command service", args.command_port, 50051),
                port("--query-port", "TANDEM_QUERY_PORT", "the query service", args.query_port, 50052),
                port(
                    "--command-metrics-port",
                    "TANDEM_COMMAND_METRICS_PORT",
                    "the command service's metrics",
                    args.command_metrics_port,
                    9464,
                ),
                port(
                    "--query-metrics-port",
                    "TANDEM_QUERY_METRICS_PORT",
                    "the query service's metrics",
                    args.query_metrics_port,
                    9465,
                ),
            ],
        }
    }

    /// The primary's port.
    pub fn primary(&self) -> u16 {
        self.all[0].number
    }

    /// The replica's port.
    pub fn replica(&self) -> u16 {
        self.all[1].number
    }

    /// Where the command service listens.
    pub fn command(&self) -> SocketAddr {
        self.address(2)
    }

    /// Where the query service listens.
    pub fn query(&self) -> SocketAddr {
        self.address(3)
    }

    /// Where the command service's metrics are.
    pub fn command_metrics(&self) -> SocketAddr {
        self.address(4)
    }

    /// Where the query service's metrics are.
    pub fn query_metrics(&self) -> SocketAddr {
        self.address(5)
    }

    /// Fails with the port, its flag and its variable where one is taken or named twice.
    pub fn check_free(&self) -> anyhow::Result<()> {
        for (index, port) in self.all.iter().enumerate() {
            let Port { flag, variable, whose, number } = port;
            if let Some(twin) = self.all[..index].iter().find(|other| other.number == *number) {
                bail!("port {number} is both {}'s ({}) and {whose}'s ({flag}): move one", twin.whose, twin.flag);
            }
            match TcpListener::bind((Ipv4Addr::LOCALHOST, *number)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                    "port {number}, meant for {whose}, is taken by another program: \
                     choose another with {flag} or {variable}"
                ),
                Err(error) => {
                    bail!("port {number} can't be used for {whose} ({error}): choose another with {flag} or {variable}")
                }
            }
        }
        Ok(())
    }

    fn address(&self, index: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.all[index].number).into()
    }
}

impl PortArgs {
    /// Fails where a port is asked for explicitly and the running pair has another.
    pub fn agree_with(&self, running: &RunState) -> anyhow::Result<()> {
        let number = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let pairs = [
            ("--primary-port", self.primary_port, Some(running.primary.port)),
            ("--replica-port", self.replica_port, Some(running.replica.port)),
            ("--command-port", self.command_port, number(&running.command_address)),
            ("--query-port", self.query_port, number(&running.query_address)),
            ("--command-metrics-port", self.command_metrics_port, number(&running.command_metrics_address)),
            ("--query-metrics-port", self.query_metrics_port, number(&running.query_metrics_address)),
        ];
        for (flag, asked, found) in pairs {
            ensure!(
                asked.is_none() || asked == found,
                "the pair runs already, with another {flag}: stop it first with `cargo xtask down`"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_by_number_flag_and_variable() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let free = |_| crate::postgres::free_port().ok();
        let args = PortArgs {
            primary_port: free(0),
            replica_port: free(1),
            command_port: free(2),
            query_port: Some(taken),
            command_metrics_port: free(4),
            query_metrics_port: free(5),
        };
        let error = Ports::new(&args).check_free().unwrap_err().to_string();
        for part in [taken.to_string().as_str(), "--query-port", "TANDEM_QUERY_PORT"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_same_port_twice_is_refused() {
        let port = crate::postgres::free_port().ok();
        let args = PortArgs { primary_port: port, replica_port: port, ..PortArgs::default() };
        let error = Ports::new(&args).check_free().unwrap_err().to_string();
        assert!(error.contains("--primary-port") && error.contains("--replica-port"), "{error}");
    }
}
