//! Sales through the front door in one long stream: `seed --via import`.
//!
//! Rows are sent ahead of their acknowledgements, a bounded number of messages far; those that are not acknowledged are
//! kept. Where the stream breaks, the next one begins behind what the service says is durable, under the same import id,
//! so nothing is written twice. In the end the service's receipt must agree with what was sent: rows, items, sums, and the
//! hash over the content of all rows.

mod batches;
mod codec;
mod receipt;
mod window;

use std::future::Future;

use anyhow::{Context, bail};
use futures::channel::mpsc::{Receiver, Sender, channel};
use futures::future::poll_fn;
use http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::Bytes;
use tandem_proto::sales::command::v1::import_transactions_request::Message as Sent;
use tandem_proto::sales::command::v1::import_transactions_response::Message as Told;
use tandem_proto::sales::command::v1::{
    ImportFinish, ImportReceipt, ImportStart, ImportTransactionsRequest, ImportTransactionsResponse,
};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::Plan;
use super::grpc::{MAX_TRIES, channel as connect, is_passing, pause_after, refused};
use super::progress::{Outcome, Progress};
use crate::terminal::counted;
use batches::{Batches, Summary};
use codec::Encoded;
pub use receipt::Receipt;
use window::Window;

const METHOD: &str = "/sales.command.v1.SalesCommandService/ImportTransactions";

/// Messages between us and the connection: it takes the next while one is on its way.
const MESSAGES_AHEAD: usize = 2;

/// Imports the sales of `plan` through the command service at `command_address`, `host:port` or a URL.
///
/// Draws a bar on standard error where that is a terminal. When `stop` resolves, the stream ends; what was
/// acknowledged is in, and the outcome says `stopped`.
///
/// # Errors
///
/// The service can't be reached, refuses a sale, stays unavailable through all tries, or gives a receipt that does not
/// agree with what was sent.
pub async fn import(command_address: &str, plan: &Plan, stop: impl Future<Output = ()>) -> anyhow::Result<Outcome> {
    import_as(Uuid::new_v4(), command_address, plan, stop).await
}

/// The same, under an id of the caller's.
pub(super) async fn import_as(
    import_id: Uuid,
    command_address: &str,
    plan: &Plan,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Outcome> {
    let mut import = Import {
        channel: connect(command_address).await?,
        import_id: import_id.to_string(),
        window: Window::new(Batches::make(plan)),
        progress: Progress::start(plan.sales),
    };
    let receipt = {
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => None,
            receipt = import.run() => Some(receipt),
        }
    };
    let Import { progress, window, import_id, .. } = import;
    let acknowledged = progress.sales();
    match receipt {
        None => Ok(progress.finish()),
        Some(Ok(receipt)) => {
            let receipt = Receipt::check(&receipt, &import_id, &window.summary().await?, &plan.currency)?;
            Ok(Outcome { receipt: Some(receipt), ..progress.finish() })
        }
        Some(Err(error)) => {
            drop(progress);
            Err(error).with_context(|| format!("the import ended early after {}", counted(acknowledged, "sale")))
        }
    }
}

/// An import under way.
struct Import {
    channel: Channel,
    import_id: String,
    window: Window,
    progress: Progress,
}

/// Why a stream ended.
#[derive(Debug)]
enum Broken {
    /// The connection, or the service says so.
    Status(Status),
    /// What can't be mended by another stream.
    Final(anyhow::Error),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Broken::Status(status)
    }
}

impl Import {
    /// Stream after stream until there is a receipt. Tries are counted from the last one that brought us forward.
    async fn run(&mut self) -> anyhow::Result<ImportReceipt> {
        let mut tries = 1;
        loop {
            let before = self.window.acknowledged();
            let status = match self.stream().await {
                Ok(receipt) => return Ok(receipt),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Status(status)) => status,
            };
            if self.window.acknowledged() > before {
                tries = 1;
            }
            if tries >= MAX_TRIES || !is_passing(&status) {
                return Err(refused(&status));
            }
            self.progress.show(self.progress.sales(), "the stream broke: going on");
            tokio::time::sleep(pause_after(tries)).await;
            tries += 1;
        }
    }

    async fn stream(&mut self) -> Result<ImportReceipt, Broken> {
        let (mut to, from) = channel(MESSAGES_AHEAD);
        let start = ImportStart {
            import_id: self.import_id.clone(),
            all_or_nothing: false,
            acknowledged_row_number: self.window.acknowledged(),
        };
        send(&mut to, encoded(Sent::Start(start)));
        let mut answers = self.open(from).await?;
        match next(&mut answers).await? {
            Told::Started(started) => self.acknowledge(started.last_row_number),
            _ => return Err(Status::unavailable("the service did not begin with what is durable").into()),
        }
        self.window.begin_again();
        self.progress.show(self.progress.sales(), "");
        loop {
            let can_send = self.window.has_unsent();
            let wants_more = self.window.wants_more();
            tokio::select! {
                told = next(&mut answers) => {
                    if let Some(receipt) = self.hear(told?)? {
                        return Ok(receipt);
                    }
                }
                ready = poll_fn(|context| to.poll_ready(context)), if can_send => {
                    // A stream that has gone says why in its answers.
                    if ready.is_ok() && let Some(message) = self.window.next_unsent() {
                        send(&mut to, message);
                    } else {
                        let status = next(&mut answers).await.err();
                        return Err(status.unwrap_or_else(|| Status::unavailable("the stream was closed")).into());
                    }
                }
                () = self.window.fill(), if wants_more => {}
            }
        }
    }

    async fn open(&mut self, from: Receiver<Bytes>) -> Result<Streaming<ImportTransactionsResponse>, Status> {
        let mut client = Grpc::new(self.channel.clone());
        let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        client.ready().await.map_err(unavailable)?;
        let path = PathAndQuery::from_static(METHOD);
        Ok(client.streaming(Request::new(from), path, Encoded).await?.into_inner())
    }

    fn hear(&mut self, told: Told) -> Result<Option<ImportReceipt>, Broken> {
        match told {
            Told::Started(_) => Ok(None),
            Told::Acknowledged(acknowledged) => {
                self.acknowledge(acknowledged.last_row_number);
                Ok(None)
            }
            Told::Refused(row) => {
                let fields: Vec<String> =
                    row.violations.iter().map(|one| format!("{} {}", one.field, one.description)).collect();
                let (number, reason) = (row.row_number, row.reason);
                Err(Broken::Final(anyhow::anyhow!("sale {number} was refused: {reason}: {}", fields.join("; "))))
            }
            Told::Receipt(receipt) => {
                self.acknowledge(receipt.rows_written);
                Ok(Some(receipt))
            }
        }
    }

    fn acknowledge(&mut self, row: i64) {
        let share = self.window.acknowledge(row);
        self.progress.add(share);
    }
}

/// The channel has room: it was asked, or is new.
fn send(to: &mut Sender<Bytes>, message: Bytes) {
    // A stream that has gone says why in its answers.
    let _gone = to.try_send(message);
}

async fn next(answers: &mut Streaming<ImportTransactionsResponse>) -> Result<Told, Status> {
    let answer = answers.message().await?.and_then(|answer| answer.message);
    answer.ok_or_else(|| Status::unavailable("the stream ended before its receipt"))
}

fn encoded(message: Sent) -> Bytes {
    ImportTransactionsRequest { message: Some(message) }.encode_to_vec().into()
}

/// What ends an import of so many rows.
fn finish(last_row_number: i64) -> Bytes {
    encoded(Sent::Finish(ImportFinish { last_row_number }))
}

/// What was sent, if all of it was.
async fn summary(of: tokio::task::JoinHandle<Summary>) -> anyhow::Result<Summary> {
    match of.await {
        Ok(summary) => Ok(summary),
        Err(error) => bail!("the generator ended early: {error}"),
    }
}
