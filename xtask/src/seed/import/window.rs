//! What was made and is not acknowledged: kept, to be sent again where a stream breaks.

use std::collections::VecDeque;

use prost::bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::progress::Share;
use super::batches::{Batch, Batches, Summary};

/// Messages that may be unacknowledged: what the service gathers, what it writes, and what is on its way, so that none
/// of them waits for us. Some 24 MB.
const UNACKNOWLEDGED: usize = 24;

/// Batches from the last acknowledged row on.
#[derive(Debug)]
pub struct Window {
    made: mpsc::Receiver<Batch>,
    summary: JoinHandle<Summary>,
    batches: VecDeque<Batch>,
    /// How many of `batches` went into this stream.
    sent: usize,
    acknowledged: i64,
    last: i64,
    all_made: bool,
    finish_sent: bool,
}

impl Window {
    /// Nothing is sent yet.
    pub fn new(Batches { made, summary }: Batches) -> Window {
        Window {
            made,
            summary,
            batches: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            last: 0,
            all_made: false,
            finish_sent: false,
        }
    }

    /// The last row that is durable.
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Rows up to this one are durable; what the new ones add.
    pub fn acknowledge(&mut self, row: i64) -> Share {
        let mut share = Share::default();
        let begin = self.acknowledged;
        while let Some(batch) = self.batches.front() {
            for (number, of) in (batch.first..).zip(&batch.rows) {
                if number > begin && number <= row {
                    share.add(*of);
                }
            }
            if end(batch) > row {
                break;
            }
            self.batches.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        self.acknowledged = self.acknowledged.max(row);
        share
    }

    /// A new stream has got nothing yet.
    pub fn begin_again(&mut self) {
        self.sent = 0;
        self.finish_sent = false;
    }

    /// Whether there is something to send now.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.batches.len() || (self.all_made && !self.finish_sent)
    }

    /// What to send next; the last message finishes the import.
    pub fn next_unsent(&mut self) -> Option<Bytes> {
        if let Some(batch) = self.batches.get(self.sent) {
            self.sent += 1;
            return Some(batch.message.clone());
        }
        (self.all_made && !std::mem::replace(&mut self.finish_sent, true)).then(|| super::finish(self.last))
    }

    /// Whether there is room for another batch, and everything else is sent.
    pub fn wants_more(&self) -> bool {
        !self.all_made && self.sent == self.batches.len() && self.batches.len() < UNACKNOWLEDGED
    }

    /// Takes the next batch from the generator. Nothing is lost when the future is dropped.
    pub async fn fill(&mut self) {
        match self.made.recv().await {
            Some(batch) => {
                self.last = end(&batch);
                self.batches.push_back(batch);
            }
            None => self.all_made = true,
        }
    }

    /// What all rows together were.
    pub async fn summary(self) -> anyhow::Result<Summary> {
        super::summary(self.summary).await
    }
}

/// The number of its last row.
fn end(batch: &Batch) -> i64 {
    batch.first + i64::try_from(batch.rows.len()).expect("a message has few rows") - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Plan;

    async fn filled(sales: u64) -> Window {
        let mut window = Window::new(Batches::make(&Plan::new(sales)));
        while window.wants_more() {
            window.fill().await;
            while window.sent < window.batches.len() {
                window.next_unsent();
            }
        }
        window
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_sent_again_in_the_next_stream_and_the_rest_is_not() {
        let mut window = filled(10_000).await;
        let batches = window.batches.len();
        assert!(batches > 2, "{batches}");
        let second = window.batches[1].clone();
        // In the middle of the second batch.
        let share = window.acknowledge(second.first + 4);
        assert_eq!(share.sales, second.first.unsigned_abs() + 4);
        window.begin_again();
        assert_eq!(window.next_unsent(), Some(second.message));
        let mut left = 1;
        while window.has_unsent() {
            window.next_unsent();
            left += 1;
        }
        assert_eq!(left, batches - 1 + 1, "all behind, and the finish");
        let rest = window.acknowledge(10_000);
        assert_eq!((rest.sales, window.batches.len()), (10_000 - share.sales, 0));
    }

    #[tokio::test]
    async fn rows_are_counted_once_however_often_they_are_acknowledged() {
        let mut window = filled(100).await;
        assert_eq!(window.acknowledge(40).sales, 40);
        assert_eq!(window.acknowledge(40).sales, 0);
        assert_eq!(window.acknowledge(30).sales, 0);
        assert_eq!(window.acknowledge(100).sales, 60);
    }

    #[tokio::test]
    async fn no_more_is_sent_ahead_than_the_bound() {
        let (to, made) = mpsc::channel(2 * UNACKNOWLEDGED);
        for first in 1..=2 * UNACKNOWLEDGED as i64 {
            to.try_send(Batch { message: Bytes::new(), first, rows: vec![Share::default()] }).unwrap();
        }
        let summary = tokio::spawn(std::future::pending());
        let mut window = Window::new(Batches { made, summary });
        while window.wants_more() {
            window.fill().await;
            window.next_unsent();
        }
        assert_eq!((window.batches.len(), window.has_unsent()), (UNACKNOWLEDGED, false));
        window.acknowledge(1);
        assert!(window.wants_more());
    }
}
