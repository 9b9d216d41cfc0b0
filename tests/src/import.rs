//! An import as a caller would write it.

use std::time::Duration;

use prost_types::Timestamp;
use tandem_proto::sales::{
    command::v1::{
        ImportAcknowledged, ImportFinish, ImportReceipt, ImportRefused, ImportRows, ImportStart, ImportStarted,
        ImportTransactionsRequest, ImportTransactionsResponse, import_transactions_request,
        import_transactions_response::Message, sales_command_service_client::SalesCommandServiceClient,
    },
    v1::SalesTransaction,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use uuid::Uuid;

use crate::request::{discounted, item, sale_at};

/// Nobody waits longer than this for one answer: whoever does is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// The moment of the first row: 2026-01-01.
const FIRST_TIME: i64 = 1_767_225_600;

/// An import that begins.
pub fn new_import() -> ImportStart {
    ImportStart { import_id: Uuid::now_v7().to_string(), ..ImportStart::default() }
}

/// The same import, resumed by a caller who has seen this acknowledgement.
pub fn resumed(start: &ImportStart, acknowledged_row_number: i64) -> ImportStart {
    ImportStart { acknowledged_row_number, ..start.clone() }
}

/// Row `number` of a source: always the same one. Its cashier has its number, so that doubles and holes are seen.
pub fn row(store_id: i32, number: i64) -> SalesTransaction {
    let time = Timestamp { seconds: FIRST_TIME + number, nanos: 0 };
    let items = vec![item("A", 2, "1.25"), discounted("B", 1, "3.00", "0.50")];
    let cashier_id = i32::try_from(number).expect("tests have few rows");
    SalesTransaction { cashier_id, ..sale_at(time, store_id, items) }
}

/// Rows of a source.
pub fn rows(store_id: i32, numbers: impl IntoIterator<Item = i64>) -> Vec<SalesTransaction> {
    numbers.into_iter().map(|number| row(store_id, number)).collect()
}

/// One stream of an import.
pub struct ImportStream {
    requests: mpsc::Sender<ImportTransactionsRequest>,
    answers: Streaming<ImportTransactionsResponse>,
    /// What the service said first.
    pub started: ImportStarted,
}

/// What the service said until some moment.
#[derive(Debug, Default)]
pub struct Said {
    /// The last acknowledgement.
    pub acknowledged: Option<ImportAcknowledged>,
    /// Refused rows.
    pub refused: Vec<ImportRefused>,
    /// The receipt.
    pub receipt: Option<ImportReceipt>,
}

impl ImportStream {
    /// Begins or resumes an import, and waits until the service has said where it stands.
    pub async fn start(
        commands: &SalesCommandServiceClient<Channel>,
        start: &ImportStart,
    ) -> Result<ImportStream, Status> {
        let (requests, mut answers) = open(commands).await?;
        send(&requests, import_transactions_request::Message::Start(start.clone())).await;
        match next(&mut answers).await? {
            Some(Message::Started(started)) => Ok(Self { requests, answers, started }),
            other => panic!("the first answer is {other:?}"),
        }
    }

    /// Sends rows; `false` when nobody takes them any more.
    pub async fn rows(&self, first_row_number: i64, transactions: Vec<SalesTransaction>) -> bool {
        send(&self.requests, import_transactions_request::Message::Rows(ImportRows { first_row_number, transactions }))
            .await
    }

    /// Says that there are no more rows.
    pub async fn finish(&self, last_row_number: i64) -> bool {
        send(&self.requests, import_transactions_request::Message::Finish(ImportFinish { last_row_number })).await
    }

    /// The next answer; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        next(&mut self.answers).await
    }

    /// Listens until a row is acknowledged.
    pub async fn until(&mut self, row_number: i64) -> Result<Said, Status> {
        let mut said = Said::default();
        while said.acknowledged.as_ref().is_none_or(|acknowledged| acknowledged.last_row_number < row_number) {
            let message = self.next().await?.unwrap_or_else(|| panic!("row {row_number} is never acknowledged"));
            said.hear(message);
        }
        Ok(said)
    }

    /// Listens to the end.
    pub async fn end(mut self) -> Result<Said, Status> {
        let mut said = Said::default();
        while let Some(message) = self.next().await? {
            said.hear(message);
        }
        Ok(said)
    }

    /// Sends no more, in the middle of an import, and listens to the end.
    pub async fn stop_sending(self) -> Result<Said, Status> {
        let Self { requests, answers, started } = self;
        drop(requests);
        let (requests, _) = mpsc::channel(1);
        Self { requests, answers, started }.end().await
    }
}

impl Said {
    fn hear(&mut self, message: Message) {
        match message {
            Message::Started(started) => panic!("started twice: {started:?}"),
            Message::Acknowledged(acknowledged) => self.acknowledged = Some(acknowledged),
            Message::Refused(refused) => self.refused.push(refused),
            Message::Receipt(receipt) => self.receipt = Some(receipt),
        }
    }

    /// Numbers and reasons of the refused rows.
    pub fn refused_rows(&self) -> Vec<(i64, &str)> {
        self.refused.iter().map(|refused| (refused.row_number, refused.reason.as_str())).collect()
    }
}

/// A stream that has said nothing yet.
pub async fn open(
    commands: &SalesCommandServiceClient<Channel>,
) -> Result<(mpsc::Sender<ImportTransactionsRequest>, Streaming<ImportTransactionsResponse>), Status> {
    let (requests, waiting) = mpsc::channel(4);
    let answers = commands.clone().import_transactions(ReceiverStream::new(waiting)).await?.into_inner();
    Ok((requests, answers))
}

async fn send(
    requests: &mpsc::Sender<ImportTransactionsRequest>,
    message: import_transactions_request::Message,
) -> bool {
    requests.send(ImportTransactionsRequest { message: Some(message) }).await.is_ok()
}

async fn next(answers: &mut Streaming<ImportTransactionsResponse>) -> Result<Option<Message>, Status> {
    let answer = timeout(PATIENCE, answers.message()).await.expect("an answer comes in time")?;
    Ok(answer.map(|answer| answer.message.expect("an answer says something")))
}
