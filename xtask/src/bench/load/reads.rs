//! Callers that read sales, one by one, in a closed loop.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use rand::RngExt;
use tandem_proto::sales::query::v1::GetTransactionRequest;
use tandem_proto::sales::query::v1::sales_query_service_client::SalesQueryServiceClient;
use tokio::task::LocalSet;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::super::shop::{ITEMS, Sales};
use super::super::usage::Usage;
use super::{CALL_TIMEOUT, Tally};

/// How readers work: by these flags they are called as a process.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Args {
    /// The query service.
    #[arg(long)]
    pub address: SocketAddr,
    /// How many callers there are.
    #[arg(long)]
    pub callers: NonZeroU32,
    /// Over how many HTTP/2 connections they go.
    #[arg(long)]
    pub connections: NonZeroU32,
    /// For how long they read.
    #[arg(long)]
    pub seconds: NonZeroU32,
    /// How many sales there are.
    #[arg(long)]
    pub sales: NonZeroU64,
    /// When the first was made.
    #[arg(long)]
    pub start: DateTime<Utc>,
    /// Microseconds from one to the next.
    #[arg(long)]
    pub step: i64,
}

impl Args {
    /// The same as words of a command line.
    pub fn words(&self) -> Vec<String> {
        let pairs = [
            ("--address", self.address.to_string()),
            ("--callers", self.callers.to_string()),
            ("--connections", self.connections.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--sales", self.sales.to_string()),
            ("--start", self.start.to_rfc3339()),
            ("--step", self.step.to_string()),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    /// For how long they read.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.get()))
    }
}

/// Reads and prints the tally as JSON; what is acknowledged are reads.
///
/// # Errors
///
/// The service can't be reached. That it answers wrongly is in the tally.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let args = args.clone();
    let tally = tokio::task::spawn_blocking(move || generate(&args)).await.context("the generator panicked")??;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(ExitCode::SUCCESS)
}

type Client = SalesQueryServiceClient<Channel>;

fn generate(args: &Args) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut tally = LocalSet::new().block_on(&runtime, work(args))?;
    tally.usage = Usage::of(std::process::id());
    Ok(tally)
}

async fn work(args: &Args) -> anyhow::Result<Tally> {
    let endpoint = Endpoint::from_shared(format!("http://{}", args.address))?.tcp_nodelay(true);
    let mut clients = Vec::new();
    for _ in 0..args.connections.get() {
        let channel = endpoint.connect().await;
        clients.push(Client::new(channel.with_context(|| format!("no query service answers at {}", args.address))?));
    }
    let sales = Sales { count: args.sales.get(), start: args.start, step: args.step };
    let tally = Rc::new(RefCell::new(Tally::default()));
    let start = Instant::now();
    let end = start + args.duration();
    let callers: Vec<_> = (0..args.callers.get() as usize)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            tokio::task::spawn_local(read_until(end, client, sales, Rc::clone(&tally)))
        })
        .collect();
    for caller in callers {
        if caller.await.is_err() {
            tally.borrow_mut().fault("a caller panicked".to_owned());
        }
    }
    tally.borrow_mut().seconds = start.elapsed().as_secs_f64();
    Ok(tally.take())
}

async fn read_until(end: Instant, mut client: Client, sales: Sales, tally: Rc<RefCell<Tally>>) {
    while Instant::now() < end {
        let transaction_id = sales.id(rand::rng().random_range(1..=sales.count)).to_string();
        let asked = GetTransactionRequest { transaction_id: transaction_id.clone(), consistency: None };
        let mut request = Request::new(asked);
        request.set_timeout(CALL_TIMEOUT);
        let since = Instant::now();
        let answer = client.get_transaction(request).await;
        let took = since.elapsed();
        let mut tally = tally.borrow_mut();
        match answer.map(|answer| answer.into_inner().transaction.unwrap_or_default()) {
            Ok(sale) if sale.transaction_id == transaction_id && sale.items.len() == ITEMS => tally.acknowledge(took),
            Ok(sale) => tally.fault(format!("a wrong answer: {} items of {}", sale.items.len(), sale.transaction_id)),
            Err(status) => tally.fault(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_words_of_a_command_line_mean_the_same_to_the_process() {
        let some = |number| NonZeroU32::new(number).unwrap();
        let args = Args {
            address: "127.0.0.1:50052".parse().unwrap(),
            callers: some(64),
            connections: some(2),
            seconds: some(5),
            sales: NonZeroU64::new(1_000).unwrap(),
            start: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            step: 31_536_000,
        };
        let words = std::iter::once("reads".to_owned()).chain(args.words());
        assert_eq!(Program::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args, args);
    }
}
