//! Streams: what watchers are told, as messages.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tandem_chassis::deadline::Deadline;
use tandem_proto::{
    money::Currency,
    sales::query::v1::{
        self as wire, TransactionChange, WatchHeartbeat, WatchSummaryRequest, WatchSummaryResponse,
        WatchTransactionsRequest, WatchTransactionsResponse, watch_summary_request, watch_transactions_response,
    },
    time::to_timestamp,
};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{decode, encode, status};
use crate::{
    domain::{
        ChangeKind, Fault, LocalRange, Violation, WatchToken, Zone,
        limits::{DEFAULT_DAYS, DEFAULT_MIN_INTERVAL, LEAST_LAST, LEAST_MIN_INTERVAL, MOST_LAST, MOST_MIN_INTERVAL},
    },
    live::{Period, Summaries, SummaryQuestion, SummedUp, Told, WatchEnd, Watchers, Watching},
};

/// The streams of the contract.
pub struct Watches {
    watchers: Watchers,
    summaries: Summaries,
    currency: Currency,
    replica_name: String,
}

/// Of a watched summary whose caller does not say.
const LAST_DAYS: Duration = Duration::from_secs(DEFAULT_DAYS * 86_400);

type Decoded<T> = Result<T, Vec<Violation>>;

impl Watches {
    /// Told by `watchers` and `summaries`, all money in `currency`, under the name `replica_name`.
    pub const fn new(watchers: Watchers, summaries: Summaries, currency: Currency, replica_name: String) -> Self {
        Self { watchers, summaries, currency, replica_name }
    }

    /// Changes of sales.
    pub async fn transactions(
        &self,
        request: Request<WatchTransactionsRequest>,
    ) -> Result<Response<BoxStream<WatchTransactionsResponse>>, Status> {
        let deadline = Deadline::of_caller(request.extensions());
        let watching =
            watching(request.into_inner(), &self.currency, deadline).map_err(|wrong| status::invalid(&wrong))?;
        let told = self.watchers.watch(watching).await.map_err(status::watch_ended)?;
        let (currency, replica_name) = (self.currency.clone(), self.replica_name.clone());
        let messages =
            told.map(move |told| told.map(|told| message(told, &currency, &replica_name)).map_err(status::watch_ended));
        Ok(Response::new(Box::pin(messages)))
    }

    /// Key figures whenever they change.
    pub async fn summary(
        &self,
        request: Request<WatchSummaryRequest>,
    ) -> Result<Response<BoxStream<WatchSummaryResponse>>, Status> {
        let deadline = Deadline::of_caller(request.extensions());
        let question = summary_question(request.into_inner()).map_err(|wrong| status::invalid(&wrong))?;
        let shown = self.summaries.watch(question).map_err(status::watch_ended)?;
        let (currency, replica_name) = (self.currency.clone(), self.replica_name.clone());
        let messages = stream::unfold(Some(shown), move |shown| async move {
            let mut shown = shown?;
            let changed = async { shown.changed().await };
            let changed = match deadline {
                Some(deadline) => timeout_at(deadline.when(), changed).await.map_err(|_| WatchEnd::DeadlineExceeded),
                None => Ok(changed.await),
            };
            let newest = match changed {
                Ok(Ok(())) => shown.borrow_and_update().clone().unwrap_or(Err(WatchEnd::Panicked)),
                // Whoever shows them ends only with the service.
                Ok(Err(_)) => Err(WatchEnd::ShuttingDown),
                Err(end) => Err(end),
            };
            let goes_on = newest.is_ok().then_some(shown);
            Some((newest, goes_on))
        });
        let messages = messages.map(move |newest| {
            newest.map(|newest| summary(&newest, &currency, &replica_name)).map_err(status::watch_ended)
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

fn watching(message: WatchTransactionsRequest, currency: &Currency, deadline: Option<Deadline>) -> Decoded<Watching> {
    let mut reader = decode::Reader::new();
    let filter = reader.transaction_filter(message.filter, currency);
    let resume = match message.resume_token.as_str() {
        "" => Some(None),
        token => reader.check("resume_token", token.parse::<WatchToken>()).map(Some),
    };
    let asked = filter.zip(resume);
    reader.finish(asked.map(|(filter, resume)| Watching { filter, resume, deadline }))
}

fn summary_question(message: WatchSummaryRequest) -> Decoded<SummaryQuestion> {
    let mut reader = decode::Reader::new();
    let period = match message.period {
        None => Some(Period::Last(LAST_DAYS)),
        Some(watch_summary_request::Period::Range(range)) => {
            let range = reader.range(range);
            range.map(|range| range.map_or(Period::Last(LAST_DAYS), |range| Period::Range(range.range)))
        }
        Some(watch_summary_request::Period::Last(last)) => {
            reader.check("last", duration(last, LEAST_LAST, MOST_LAST)).map(Period::Last)
        }
    };
    let min_interval = match message.min_interval {
        None => Some(DEFAULT_MIN_INTERVAL),
        Some(interval) => reader
            .check("min_interval", duration(interval, Duration::ZERO, MOST_MIN_INTERVAL))
            .map(|interval| interval.max(LEAST_MIN_INTERVAL)),
    };
    let filter = reader.sales_filter(message.filter).map(|mut filter| {
        // The same question, in whatever order.
        filter.store_ids.sort_unstable();
        filter.store_ids.dedup();
        filter.payment_methods.sort_unstable();
        filter.payment_methods.dedup();
        filter.categories.sort_unstable();
        filter.categories.dedup();
        filter
    });
    let asked = period.zip(filter).zip(min_interval);
    reader.finish(asked.map(|((period, filter), min_interval)| SummaryQuestion { period, filter, min_interval }))
}

fn duration(message: prost_types::Duration, least: Duration, most: Duration) -> Result<Duration, Fault> {
    let duration = Duration::try_from(message).map_err(|_| Fault::MalformedDuration)?;
    if (least..=most).contains(&duration) { Ok(duration) } else { Err(Fault::DurationOutOfRange { least, most }) }
}

fn message(told: Told, currency: &Currency, replica_name: &str) -> WatchTransactionsResponse {
    use watch_transactions_response::Message;
    let message = match told.change {
        Some((kind, sale)) => Message::Change(TransactionChange {
            kind: self::kind(kind).into(),
            transaction: Some(encode::transaction(sale, currency)),
        }),
        None => Message::Heartbeat(WatchHeartbeat {}),
    };
    WatchTransactionsResponse {
        message: Some(message),
        resume_token: told.token.to_string(),
        replica_name: replica_name.to_owned(),
    }
}

const fn kind(kind: ChangeKind) -> wire::ChangeKind {
    match kind {
        ChangeKind::Created => wire::ChangeKind::Created,
        ChangeKind::Updated => wire::ChangeKind::Updated,
        ChangeKind::Deleted => wire::ChangeKind::Deleted,
        ChangeKind::Entered => wire::ChangeKind::Entered,
        ChangeKind::Left => wire::ChangeKind::Left,
    }
}

fn summary(newest: &SummedUp, currency: &Currency, replica_name: &str) -> WatchSummaryResponse {
    WatchSummaryResponse {
        range: Some(encode::range(&LocalRange { range: newest.range, zone: Zone::UTC })),
        revenue: Some(currency.money(newest.figures.revenue)),
        transactions: newest.figures.transactions,
        items_sold: newest.figures.items_sold,
        average_transaction: Some(currency.money(newest.figures.average_transaction())),
        total_discount: Some(currency.money(newest.figures.total_discount)),
        read_state: Some(encode::read_state(newest.before, newest.covered, replica_name)),
        as_of: Some(to_timestamp(newest.as_of)),
    }
}
