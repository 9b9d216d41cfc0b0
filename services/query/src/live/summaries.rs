//! Figures that several callers watch: summed up once for all who ask the same.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, gauge};
use tandem_chassis::{database::DatabaseError, deadline::Deadline, shutdown::Shutdown};
use tandem_replication::Position;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::WatchEnd;
use crate::{
    domain::{Dimension, Figures, FiguresQuestion, Range, SalesFilter},
    freshness::{Freshness, Observed},
    store::Replica,
};

/// Questions that are summed up again and again at one time: at the default of once a second they keep the replica busy
/// for a small part of its time.
const MOST_QUESTIONS: usize = 100;
/// For one answer: sums over rollups take milliseconds, over a year of sales seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Between tries while the replica fails.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// A replica that fails for longer ends the streams.
const FAILURE_LIMIT: Duration = Duration::from_secs(5);

/// Of which time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Period {
    /// A range that stands still.
    Range(Range),
    /// So long back from now.
    Last(Duration),
}

/// What is watched. Who asks the same is told the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SummaryQuestion {
    /// Of which time.
    pub period: Period,
    /// Of which sales.
    pub filter: SalesFilter,
    /// At most so often.
    pub min_interval: Duration,
}

/// Key figures of a moment.
#[derive(Clone, Debug)]
pub struct SummedUp {
    /// Of which time.
    pub range: Range,
    /// The figures.
    pub figures: Figures,
    /// When, by this process's clock.
    pub as_of: DateTime<Utc>,
    /// What was known of the replica before.
    pub before: Observed,
    /// What nothing in them lies behind.
    pub covered: Option<Position>,
}

/// What the watchers of a question see: nothing at first.
type Shown = Option<Result<Arc<SummedUp>, WatchEnd>>;

/// All questions that are watched in a process.
#[derive(Clone)]
pub struct Summaries {
    replica: Replica,
    freshness: Freshness,
    shutdown: Shutdown,
    questions: Arc<Mutex<HashMap<SummaryQuestion, Weak<watch::Sender<Shown>>>>>,
}

impl Summaries {
    /// Summed up from `replica`, whenever `freshness` says that it has moved. Ends with `shutdown`.
    pub fn new(replica: Replica, freshness: Freshness, shutdown: Shutdown) -> Self {
        Self { replica, freshness, shutdown, questions: Arc::default() }
    }

    /// The figures of now, and then whenever they have changed.
    pub fn watch(&self, question: SummaryQuestion) -> Result<watch::Receiver<Shown>, WatchEnd> {
        let mut questions = self.questions();
        if let Some(shown) = questions.get(&question).and_then(Weak::upgrade) {
            return Ok(shown.subscribe());
        }
        questions.retain(|_, shown| shown.strong_count() > 0);
        if questions.len() >= MOST_QUESTIONS {
            return Err(WatchEnd::TooMany);
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        questions.insert(question.clone(), Arc::downgrade(&sender));
        let (summaries, shutdown) = (self.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            gauge!("tandem_watched_summaries").increment(1.0);
            tokio::select! {
                biased;
                () = shutdown.triggered() => {}
                () = summaries.show(&question, &sender) => {}
            }
            gauge!("tandem_watched_summaries").decrement(1.0);
        });
        Ok(receiver)
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<SummaryQuestion, Weak<watch::Sender<Shown>>>> {
        // Entries come and go whole.
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody watches the question any more; if so, the next who asks begins it anew.
    fn is_over(&self, question: &SummaryQuestion, sender: &watch::Sender<Shown>) -> bool {
        let mut questions = self.questions();
        let is_over = sender.receiver_count() == 0;
        if is_over {
            questions.remove(question);
        }
        is_over
    }

    /// Shows the figures for as long as anybody looks.
    async fn show(&self, question: &SummaryQuestion, sender: &watch::Sender<Shown>) {
        let mut applied = self.freshness.applied();
        let mut failing_since = None;
        while !self.is_over(question, sender) {
            let next = Instant::now() + question.min_interval;
            applied.mark_unchanged();
            match self.sum_up(question).await {
                Ok(summed_up) => {
                    failing_since = None;
                    show_if_changed(sender, summed_up);
                }
                Err(error) => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= FAILURE_LIMIT {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "figures can't be summed up; watchers are sent away"
                        );
                        self.questions().remove(question);
                        sender.send_replace(Some(Err(WatchEnd::Database(Arc::new(error)))));
                        return;
                    }
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            }
            tokio::select! {
                () = sender.closed() => {}
                () = due(question.period, next, &mut applied) => {}
            }
        }
    }

    async fn sum_up(&self, question: &SummaryQuestion) -> Result<SummedUp, DatabaseError> {
        counter!("tandem_watch_summaries_total").increment(1);
        let before = self.freshness.now();
        let as_of = Utc::now();
        let range = question.period.range(as_of);
        let asked = FiguresQuestion::new([(0, range)], Dimension::All, question.filter.clone());
        let found = self.replica.figures(asked, Deadline::after(ANSWER_LIMIT)).await?;
        let figures = found.answer.first().map(|cell| cell.figures).unwrap_or_default();
        Ok(SummedUp { range, figures, as_of, before, covered: found.covered })
    }
}

impl Period {
    fn range(self, now: DateTime<Utc>) -> Range {
        match self {
            Self::Range(range) => range,
            Self::Last(long) => {
                let start = TimeDelta::from_std(long).ok().and_then(|long| now.checked_sub_signed(long));
                Range::new(start.unwrap_or(DateTime::UNIX_EPOCH), now).expect("it is longer than nothing")
            }
        }
    }
}

/// Waits until the figures may be told again and may have changed. Those of a range that moves on may, always.
async fn due<T>(period: Period, next: Instant, applied: &mut watch::Receiver<T>) {
    sleep_until(next).await;
    if matches!(period, Period::Range(_)) && applied.changed().await.is_err() {
        // Nobody says any more how far the replica is: the service ends.
        std::future::pending::<()>().await;
    }
}

fn show_if_changed(sender: &watch::Sender<Shown>, summed_up: SummedUp) {
    sender.send_if_modified(|shown| {
        let same = matches!(&shown, Some(Ok(known)) if known.figures == summed_up.figures);
        if !same {
            *shown = Some(Ok(Arc::new(summed_up)));
        }
        !same
    });
}
