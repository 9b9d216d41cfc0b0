//! `cargo xtask batches`: what a replica knows of batches, asked of its query service as any client does.

mod told;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use tandem_proto::sales::query::v1::replication_service_client::ReplicationServiceClient;
use tandem_proto::sales::query::v1::{GetBatchRequest, ListBatchesRequest};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use self::told::{ToldBatch, table};
use crate::RunState;
use crate::channel::connect;
use crate::postgres::ReplicaNumber;
use crate::terminal;

/// The batch failed, or is not known there.
const NO: u8 = 1;
/// It is not known what has become of the batch: the time was up, or nobody answers.
const UNKNOWN: u8 = 2;
/// The service gives no more on one page.
const MOST_ON_A_PAGE: u32 = 100;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists batches, those that began last first.
    ///
    /// Exit codes: 0 listed, 2 nobody answers.
    List(ListArgs),
    /// Shows one batch: its status, whether it can be read here, its rows, a token behind it.
    ///
    /// Exit codes: 0 shown, 1 this replica has not heard of it, 2 nobody answers.
    Get(GetArgs),
    /// Waits until all that a batch has written can be read on the replica.
    #[command(after_help = "\
        The batch need not have begun: an import is a batch under its import id, and `cargo xtask seed --batch-id ID` \
        makes one. A query service that is started anew meanwhile is asked again.\n\n\
        Exit codes: 0 all of it can be read, 1 the batch failed, 2 the time was up or nobody answers. Ctrl-C ends the \
        wait, and changes nothing.\n\n\
        --output json prints {\"outcome\": \"ready|failed|timed_out\", \"replica\": …, \"batch\": …}; batch is null where \
        the replica has not heard of it.\n\n\
        Example: cargo xtask batches wait nightly --timeout 600 && run-the-report")]
    Wait(WaitArgs),
}

/// How `batches list` is called.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    #[command(flatten)]
    place: Place,
}

/// How `batches get` is called.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The batch.
    batch_id: String,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    #[command(flatten)]
    place: Place,
}

/// How `batches wait` is called.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The batch; it need not have begun.
    batch_id: String,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    #[command(flatten)]
    place: Place,
}

/// Who is asked, and how the answer is printed.
#[derive(Debug, Args)]
struct Place {
    /// Ask this replica of the running pair, counted from 1.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "query_address",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(ReplicaNumber::MOST)))]
    replica: u8,
    /// Ask the query service here: host:port or a URL [default: that of the running pair].
    #[arg(long, value_name = "ADDRESS")]
    query_address: Option<String>,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

type Client = ReplicationServiceClient<Channel>;

/// Carries out a command, and prints what was found.
///
/// # Errors
///
/// None: that nobody answers is told, and is exit code 2.
pub async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let (place, done) = match command {
        Command::List(args) => (&args.place, list(args).await),
        Command::Get(args) => (&args.place, get(args).await),
        Command::Wait(args) => (&args.place, wait::run(args).await),
    };
    Ok(done.unwrap_or_else(|error| {
        if place.output == Output::Json {
            terminal::result(serde_json::json!({ "error": format!("{error:#}") }));
        }
        terminal::failure(&error);
        ExitCode::from(UNKNOWN)
    }))
}

async fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.place.client().await?;
    let limit = usize::try_from(args.limit)?;
    let page_size = i32::try_from(args.limit.min(MOST_ON_A_PAGE))?;
    let (mut batches, mut page_token) = (Vec::new(), String::new());
    let more = loop {
        let request = ListBatchesRequest { page_size, page_token, consistency: None };
        let page = client.list_batches(within(request, args.timeout)).await.map_err(|status| answered(&status))?;
        let page = page.into_inner();
        batches.extend(page.batches.into_iter().map(ToldBatch::from));
        page_token = page.next_page_token;
        if page_token.is_empty() || batches.len() >= limit {
            break !page_token.is_empty() || batches.len() > limit;
        }
    };
    batches.truncate(limit);
    match args.place.output {
        Output::Json => terminal::result(serde_json::to_string(&Listed { batches: &batches, more })?),
        Output::Text if batches.is_empty() => terminal::result("no batches"),
        Output::Text => {
            terminal::result(table(&batches));
            if more {
                terminal::note("there are more: --limit shows so many");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed<'a> {
    batches: &'a [ToldBatch],
    /// Whether there are more than were asked for.
    more: bool,
}

async fn get(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let mut client = args.place.client().await?;
    let request = GetBatchRequest { batch_id: args.batch_id.clone(), consistency: None };
    let answer = match client.get_batch(within(request, args.timeout)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => {
            if args.place.output == Output::Json {
                terminal::result(serde_json::json!({ "error": status.message() }));
            }
            terminal::failure(&anyhow::anyhow!(
                "this replica has not heard of batch {}: `cargo xtask batches wait {0}` waits for it",
                args.batch_id
            ));
            return Ok(ExitCode::from(NO));
        }
        Err(status) => return Err(answered(&status)),
    };
    let batch = ToldBatch::from(answer.batch.context("the answer has no batch")?);
    match args.place.output {
        Output::Json => terminal::result(serde_json::to_string(&batch)?),
        Output::Text => terminal::result(&batch),
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    async fn client(&self) -> anyhow::Result<Client> {
        let address = match &self.query_address {
            Some(address) => address.clone(),
            None => RunState::load()?.replica_of(ReplicaNumber::new(self.replica)?)?.query_address,
        };
        Ok(Client::new(connect("query", &address).await?))
    }
}

fn within<T>(message: T, seconds: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(seconds));
    request
}

fn answered(status: &Status) -> anyhow::Error {
    anyhow::anyhow!("the query service answered {:?}: {}", status.code(), status.message())
}
