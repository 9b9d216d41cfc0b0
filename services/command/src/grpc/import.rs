//! Streams of rows: messages into rows, events into messages.

use std::{
    task::{Poll, ready},
    time::Duration,
};

use futures::stream::poll_fn;
use prost::Message as _;
use tandem_chassis::database::DatabaseError;
use tandem_proto::{
    money::Currency,
    sales::command::v1::{
        ImportAcknowledged, ImportReceipt, ImportRefused, ImportRows, ImportStarted, ImportState,
        ImportTransactionsRequest, ImportTransactionsResponse, ImportViolation, import_transactions_request,
        import_transactions_response,
    },
};
use tokio::{sync::mpsc, task::yield_now, time::timeout};
use tonic::{Streaming, codegen::BoxStream};

use super::{decode, status};
use crate::{
    domain::{
        Fault, Violation,
        import::{Refusal, Wanted},
    },
    import::{Event, EventSender, ImportError, Importer, Intake},
    store::{self, StoreError},
};

/// Events that wait for the caller. It reads while it sends; a slow reader slows its own import down and nobody else's.
const WAITING_EVENTS: usize = 64;
/// Rows after which other calls of this thread get a turn: fractions of a millisecond.
const ROWS_A_TURN: usize = 64;

type Requests = Streaming<ImportTransactionsRequest>;

/// Imports what the requests bring, in a task of its own, and answers what becomes of it.
pub fn import(importer: Importer, requests: Requests, currency: Currency) -> BoxStream<ImportTransactionsResponse> {
    let (events, mut answers) = mpsc::channel(WAITING_EVENTS);
    let stream = ImportStream { importer: importer.clone(), requests, currency: currency.clone(), events };
    importer.spawn(stream.run());
    let mut is_over = false;
    Box::pin(poll_fn(move |context| {
        let event = match ready!(answers.poll_recv(context)) {
            Some(event) => event,
            None if is_over => return Poll::Ready(None),
            // Whoever owes the last word has panicked; an end without one would look like a success.
            None => Err(StoreError::from(DatabaseError::WorkPanicked).into()),
        };
        is_over = matches!(event, Err(_) | Ok(Event::Completed(_)));
        Poll::Ready(Some(event.map(|event| response(event, &currency)).map_err(status::of_import)))
    }))
}

struct ImportStream {
    importer: Importer,
    requests: Requests,
    currency: Currency,
    events: EventSender,
}

impl ImportStream {
    async fn run(mut self) {
        let intake = match self.begin().await {
            Ok(Some(intake)) => intake,
            Ok(None) => return,
            // Only the writer speaks once there is one.
            Err(error) => return drop(self.events.send(Err(error)).await),
        };
        self.take_rows(intake).await;
    }

    async fn begin(&mut self) -> Result<Option<Intake>, ImportError> {
        use import_transactions_request::Message::Start;
        let Some(Start(start)) = next(&mut self.requests, self.importer.idle()).await? else {
            return Err(ImportError::Invalid(vec![Violation::new("start", Fault::Missing)]));
        };
        let start = decode::import_start(&start, &self.currency).map_err(ImportError::Invalid)?;
        tracing::Span::current().record("command_id", tracing::field::display(start.import_id));
        self.importer.begin(start, &self.events).await
    }

    /// Takes rows until there are no more, or the writer has ended.
    async fn take_rows(mut self, mut intake: Intake) {
        use import_transactions_request::Message::{Finish, Rows, Start};
        loop {
            let message = tokio::select! {
                biased;
                () = intake.ended() => return,
                message = next(&mut self.requests, self.importer.idle()) => message,
                () = intake.due() => match intake.flush().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            };
            let taken = match message {
                Ok(Some(Rows(rows))) => self.rows(&mut intake, rows).await,
                Ok(Some(Finish(finish))) => return intake.finish(finish.last_row_number).await,
                Ok(Some(Start(_))) => Err(ImportError::StartedTwice),
                Ok(None) => Err(ImportError::Unfinished),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return intake.fail(error).await;
            }
        }
    }

    async fn rows(&self, intake: &mut Intake, rows: ImportRows) -> Result<(), ImportError> {
        intake.check(rows.first_row_number, rows.transactions.len())?;
        let mut content = Vec::new();
        for (turn, (number, sale)) in (rows.first_row_number..).zip(rows.transactions).enumerate() {
            if turn % ROWS_A_TURN == ROWS_A_TURN - 1 {
                yield_now().await;
            }
            let wanted = intake.wanted(number);
            if wanted == Wanted::Nothing {
                continue;
            }
            content.clear();
            // Deterministic: the contract has no maps, and unknown fields were dropped.
            sale.encode(&mut content).expect("a vector grows as it must");
            intake.content(number, &content)?;
            if wanted == Wanted::Row {
                intake.row(number, decode::import_row(sale, &self.currency)).await?;
            }
        }
        Ok(())
    }
}

/// What the next message is; `None` at the end of the stream. May be dropped and asked again.
async fn next(
    requests: &mut Requests,
    idle: Duration,
) -> Result<Option<import_transactions_request::Message>, ImportError> {
    match timeout(idle, requests.message()).await {
        Ok(Ok(Some(ImportTransactionsRequest { message: Some(message) }))) => Ok(Some(message)),
        Ok(Ok(Some(ImportTransactionsRequest { message: None }))) => {
            Err(ImportError::Invalid(vec![Violation::new("message", Fault::Missing)]))
        }
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(ImportError::Unreadable(status.into())),
        Err(_) => Err(ImportError::Idle),
    }
}

fn response(event: Event, currency: &Currency) -> ImportTransactionsResponse {
    use import_transactions_response::Message;
    let message = match event {
        Event::Started { progress, is_complete } => {
            let state = match (is_complete, progress.last_row_number) {
                (true, _) => ImportState::Completed,
                (false, 0) => ImportState::New,
                (false, _) => ImportState::Resumed,
            };
            Message::Started(ImportStarted { last_row_number: progress.last_row_number, state: state.into() })
        }
        Event::Refused(refusal) => Message::Refused(refused(refusal)),
        Event::Acknowledged { progress, token, rows_skipped } => Message::Acknowledged(ImportAcknowledged {
            last_row_number: progress.last_row_number,
            rows_written: progress.rows_written,
            rows_refused: progress.rows_refused,
            consistency_token: token.to_string(),
            rows_skipped,
        }),
        Event::Completed(receipt) => Message::Receipt(self::receipt(&receipt, currency)),
    };
    ImportTransactionsResponse { message: Some(message) }
}

fn refused(refusal: Refusal) -> ImportRefused {
    let violations = refusal.fields.into_iter().map(|wrong| ImportViolation {
        field: wrong.field,
        reason: wrong.reason.into_owned(),
        description: wrong.description,
    });
    ImportRefused {
        row_number: refusal.row_number,
        reason: refusal.reason.into_owned(),
        violations: violations.collect(),
    }
}

fn receipt(receipt: &store::ImportReceipt, currency: &Currency) -> ImportReceipt {
    let progress = &receipt.progress;
    ImportReceipt {
        import_id: receipt.import_id.to_string(),
        rows_written: progress.rows_written,
        items_written: progress.items_written,
        rows_refused: progress.rows_refused,
        total_amount: Some(currency.money(progress.total_amount)),
        total_discount: Some(currency.money(progress.total_discount)),
        lsn: receipt.position.lsn.to_string(),
        consistency_token: receipt.position.token().to_string(),
        content_hash: progress.content_hash.as_bytes().to_vec(),
    }
}
