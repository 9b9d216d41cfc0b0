//! `batches wait`: listens to WaitForBatch until the batch can be read, has failed, or the time is up.

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use tandem_proto::sales::query::v1::{Batch, BatchStatus, WaitForBatchRequest};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status};

use super::told::ToldBatch;
use super::{Client, NO, Output, UNKNOWN, WaitArgs, answered};
use crate::running::Interrupt;
use crate::terminal;

/// Between tries while the service is away or has too many who wait: a restart takes a second or two.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// The service says itself that the time is up. Where it says nothing, we do so this much later.
const GRACE: Duration = Duration::from_secs(1);
/// Fast enough to look alive, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(200);

/// What has become of the wait.
#[derive(Serialize)]
struct Waited {
    outcome: Outcome,
    replica: Option<String>,
    /// None where the replica has not heard of it.
    batch: Option<ToldBatch>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Ready,
    Failed,
    TimedOut,
}

/// What the stream has said so far.
struct Heard {
    replica: Option<String>,
    batch: Option<Batch>,
    line: Line,
}

pub(super) async fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let waited = interrupt.or(wait(args)).await??;
    let batch_id = &args.batch_id;
    match args.place.output {
        Output::Json => terminal::result(serde_json::to_string(&waited)?),
        Output::Text => waited.batch.iter().for_each(terminal::result),
    }
    Ok(match waited.outcome {
        Outcome::Ready => ExitCode::SUCCESS,
        Outcome::Failed => {
            terminal::failure(&anyhow::anyhow!(
                "batch {batch_id} failed: what it wrote stays; an import is resumed under its id, a seed takes another one"
            ));
            ExitCode::from(NO)
        }
        Outcome::TimedOut => {
            let what = if waited.batch.is_some() { "can't be read yet" } else { "is not known to this replica" };
            terminal::failure(&anyhow::anyhow!(
                "batch {batch_id} {what} after {} s: wait again with a longer --timeout; `cargo xtask status` says how \
                 replication is doing",
                args.timeout
            ));
            ExitCode::from(UNKNOWN)
        }
    })
}

async fn wait(args: &WaitArgs) -> anyhow::Result<Waited> {
    let limit = Duration::from_secs(args.timeout);
    let deadline = Instant::now() + limit;
    let mut client = args.place.client().await?;
    let mut heard = Heard { replica: None, batch: None, line: Line::begin(&args.batch_id) };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let end = timeout(left + GRACE, heard.listen(&mut client, &args.batch_id, left)).await;
        let outcome = match end {
            Err(_elapsed) => Outcome::TimedOut,
            Ok(Ok(())) => Outcome::Ready,
            Ok(Err(status)) => match status.code() {
                Code::DeadlineExceeded => Outcome::TimedOut,
                Code::FailedPrecondition if heard.has_failed() => Outcome::Failed,
                // A stream that breaks off says so in one of these words. To ask again changes nothing.
                Code::Unavailable | Code::ResourceExhausted | Code::Unknown | Code::Cancelled => {
                    if deadline.saturating_duration_since(Instant::now()) <= BETWEEN_TRIES {
                        return Err(answered(&status));
                    }
                    heard.line.say("the query service is away; asking again");
                    sleep(BETWEEN_TRIES).await;
                    continue;
                }
                _ => return Err(answered(&status)),
            },
        };
        return Ok(Waited { outcome, replica: heard.replica, batch: heard.batch.map(ToldBatch::from) });
    }
}

impl Heard {
    /// Takes what one stream says, to its end.
    async fn listen(&mut self, client: &mut Client, batch_id: &str, left: Duration) -> Result<(), Status> {
        let mut request = Request::new(WaitForBatchRequest { batch_id: batch_id.to_owned() });
        request.set_timeout(left);
        let mut stream = client.wait_for_batch(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            let told = message.batch.clone().map(ToldBatch::from);
            self.line.say(
                &told.map_or_else(
                    || "not heard of yet".to_owned(),
                    |batch| format!("{}, {}", batch.status, batch.health),
                ),
            );
            (self.replica, self.batch) = (Some(message.replica_name), message.batch);
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.status() == BatchStatus::Failed)
    }
}

/// Tells of the wait on standard error: one line that moves on a terminal, a line for each news elsewhere.
struct Line {
    batch_id: String,
    spinner: Option<ProgressBar>,
    said: String,
}

impl Line {
    fn begin(batch_id: &str) -> Self {
        let spinner = stderr().is_terminal().then(ProgressBar::new_spinner);
        spinner.iter().for_each(|spinner| spinner.enable_steady_tick(TICK));
        Self { batch_id: batch_id.to_owned(), spinner, said: String::new() }
    }

    fn say(&mut self, news: &str) {
        if self.said == news {
            return;
        }
        news.clone_into(&mut self.said);
        let line = format!("batch {}: {news}", self.batch_id);
        match &self.spinner {
            Some(spinner) => spinner.set_message(line),
            None => terminal::note(&line),
        }
    }
}

impl Drop for Line {
    /// Nothing must be left above the result, also after Ctrl-C.
    fn drop(&mut self) {
        self.spinner.iter().for_each(ProgressBar::finish_and_clear);
    }
}
