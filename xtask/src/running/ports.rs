//! The ports of a pair: each by flag and by environment variable, each checked before anything starts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{bail, ensure};
use clap::Args;
use clap::builder::RangedI64ValueParser;

use super::state::RunState;
use crate::postgres::ReplicaNumber;
use crate::service::Instance;

/// Ports as asked for; what is not asked for has a default.
#[derive(Debug, Clone, Default, Args)]
pub struct PortArgs {
    /// Port of the primary [default: 5676].
    #[arg(long, env = "TANDEM_PRIMARY_PORT", value_name = "PORT", value_parser = port())]
    pub primary_port: Option<u16>,
    /// Port of the replica [default: 5677]; of further replicas 10, 20 and 30 above.
    #[arg(long, env = "TANDEM_REPLICA_PORT", value_name = "PORT", value_parser = port())]
    pub replica_port: Option<u16>,
    /// Port of the command service [default: 50051].
    #[arg(long, env = "TANDEM_COMMAND_PORT", value_name = "PORT", value_parser = port())]
    pub command_port: Option<u16>,
    /// Port of the query service [default: 50052]; of further replicas 10, 20 and 30 above.
    #[arg(long, env = "TANDEM_QUERY_PORT", value_name = "PORT", value_parser = port())]
    pub query_port: Option<u16>,
    /// Port of the command service's Prometheus metrics [default: 9464].
    #[arg(long, env = "TANDEM_COMMAND_METRICS_PORT", value_name = "PORT", value_parser = port())]
    pub command_metrics_port: Option<u16>,
    /// Port of the query service's Prometheus metrics [default: 9465]; of further replicas 10, 20 and 30 above.
    #[arg(long, env = "TANDEM_QUERY_METRICS_PORT", value_name = "PORT", value_parser = port())]
    pub query_metrics_port: Option<u16>,
}

/// Any but 0, which would let the system choose one that nobody could tell.
fn port() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

/// How far apart the ports of two replicas are: beyond the first's own, and easy to reckon.
const STEP: u16 = 10;

/// One port with the names under which it can be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    flag: &'static str,
    variable: &'static str,
    whose: String,
    number: u16,
}

impl Port {
    fn new(flag: &'static str, variable: &'static str, whose: &str, number: u16) -> Port {
        Port { flag, variable, whose: whose.to_owned(), number }
    }

    /// The same of a further replica.
    fn of_replica(&self, number: ReplicaNumber) -> anyhow::Result<Port> {
        let above = STEP * u16::from(number.get() - 1);
        if above == 0 {
            return Ok(self.clone());
        }
        let whose = format!("{} of {} ({above} above the first)", self.whose, number.name());
        match self.number.checked_add(above) {
            Some(number) => Ok(Port { whose, number, ..self.clone() }),
            None => bail!("{whose} would be beyond 65535: choose a lower one with {} or {}", self.flag, self.variable),
        }
    }

    fn check_free(&self) -> anyhow::Result<()> {
        let Port { flag, variable, whose, number } = self;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, *number)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
                "port {number}, meant for {whose}, is taken by another program: \
                 choose another with {flag} or {variable}"
            ),
            Err(error) => {
                bail!("port {number} can't be used for {whose} ({error}): choose another with {flag} or {variable}")
            }
        }
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// The ports of a pair, all on 127.0.0.1: those of a further replica stand 10 above those of the one before it.
#[derive(Debug, Clone)]
pub struct Ports {
    primary: Port,
    command: Port,
    command_metrics: Port,
    replicas: Vec<ReplicaPorts>,
}

/// What belongs to one replica.
#[derive(Debug, Clone)]
struct ReplicaPorts {
    server: Port,
    query: Port,
    query_metrics: Port,
}

impl Ports {
    /// What is asked for, else the defaults, for so many replicas.
    pub fn new(args: &PortArgs, replicas: u8) -> anyhow::Result<Ports> {
        let server =
            Port::new("--replica-port", "TANDEM_REPLICA_PORT", "the replica", args.replica_port.unwrap_or(5677));
        let query =
            Port::new("--query-port", "TANDEM_QUERY_PORT", "the query service", args.query_port.unwrap_or(50052));
        let query_metrics = Port::new(
            "--query-metrics-port",
            "TANDEM_QUERY_METRICS_PORT",
            "the query service's metrics",
            args.query_metrics_port.unwrap_or(9465),
        );
        let of_replica = |number| {
            Ok(ReplicaPorts {
                server: server.of_replica(number)?,
                query: query.of_replica(number)?,
                query_metrics: query_metrics.of_replica(number)?,
            })
        };
        let primary = args.primary_port.unwrap_or(5676);
        let command = args.command_port.unwrap_or(50051);
        let command_metrics = args.command_metrics_port.unwrap_or(9464);
        Ok(Ports {
            primary: Port::new("--primary-port", "TANDEM_PRIMARY_PORT", "the primary", primary),
            command: Port::new("--command-port", "TANDEM_COMMAND_PORT", "the command service", command),
            command_metrics: Port::new(
                "--command-metrics-port",
                "TANDEM_COMMAND_METRICS_PORT",
                "the command service's metrics",
                command_metrics,
            ),
            replicas: ReplicaNumber::first(replicas).map(of_replica).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The primary's port.
    pub fn primary(&self) -> u16 {
        self.primary.number
    }

    /// The port of each replica.
    pub fn replicas(&self) -> Vec<u16> {
        self.replicas.iter().map(|replica| replica.server.number).collect()
    }

    /// Where a service listens.
    pub fn service(&self, instance: Instance) -> SocketAddr {
        match instance {
            Instance::Command => self.command.address(),
            Instance::Query(number) => self.replicas[number.index()].query.address(),
        }
    }

    /// Where a service's metrics are.
    pub fn metrics(&self, instance: Instance) -> SocketAddr {
        match instance {
            Instance::Command => self.command_metrics.address(),
            Instance::Query(number) => self.replicas[number.index()].query_metrics.address(),
        }
    }

    /// Fails with the port, its flag and its variable where one is taken or named twice.
    pub fn check_free(&self) -> anyhow::Result<()> {
        let of_replica =
            |replica: &'_ ReplicaPorts| [&replica.server, &replica.query, &replica.query_metrics].map(Port::clone);
        let all: Vec<Port> = [&self.primary, &self.command, &self.command_metrics]
            .map(Port::clone)
            .into_iter()
            .chain(self.replicas.iter().flat_map(of_replica))
            .collect();
        for (index, port) in all.iter().enumerate() {
            if let Some(twin) = all[..index].iter().find(|other| other.number == port.number) {
                let Port { flag, whose, number, .. } = port;
                bail!("port {number} is meant for {} ({}) and for {whose} ({flag}): move one", twin.whose, twin.flag);
            }
            port.check_free()?;
        }
        Ok(())
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
        let error = Ports::new(&args, 1).unwrap().check_free().unwrap_err().to_string();
        for part in [taken.to_string().as_str(), "--query-port", "TANDEM_QUERY_PORT"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_same_port_twice_is_refused() {
        let port = crate::postgres::free_port().ok();
        let args = PortArgs { primary_port: port, replica_port: port, ..PortArgs::default() };
        let error = Ports::new(&args, 1).unwrap().check_free().unwrap_err().to_string();
        assert!(error.contains("--primary-port") && error.contains("--replica-port"), "{error}");
    }

    #[test]
    fn the_ports_of_a_further_replica_stand_ten_above_those_of_the_one_before() {
        let ports = Ports::new(&PortArgs { query_port: Some(6000), ..PortArgs::default() }, 3).unwrap();
        assert_eq!(ports.replicas(), [5677, 5687, 5697]);
        let third = Instance::Query(ReplicaNumber::new(3).unwrap());
        assert_eq!((ports.service(third).port(), ports.metrics(third).port()), (6020, 9485));
        assert_eq!(ports.service(Instance::Command).port(), 50051, "there is one command service");
    }

    #[test]
    fn a_taken_port_of_a_further_replica_is_named_with_the_flag_that_moves_it() {
        // Ten below a port that is taken, and free itself.
        let (_listener, first) = std::iter::repeat_with(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .map(|listener| (listener.local_addr().unwrap().port() - STEP, listener))
            .find(|(first, _)| TcpListener::bind((Ipv4Addr::LOCALHOST, *first)).is_ok())
            .map(|(first, listener)| (listener, first))
            .unwrap();
        let free = || crate::postgres::free_port().ok();
        let args = PortArgs {
            primary_port: free(),
            replica_port: free(),
            command_port: free(),
            query_port: Some(first),
            command_metrics_port: free(),
            query_metrics_port: free(),
        };
        let error = Ports::new(&args, 2).unwrap().check_free().unwrap_err().to_string();
        for part in [(first + STEP).to_string().as_str(), "replica-2", "10 above", "--query-port", "TANDEM_QUERY_PORT"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_further_replica_beyond_the_last_port_is_refused() {
        let args = PortArgs { replica_port: Some(65_530), ..PortArgs::default() };
        let error = Ports::new(&args, 2).unwrap_err().to_string();
        assert!(error.contains("65535") && error.contains("--replica-port"), "{error}");
    }
}
