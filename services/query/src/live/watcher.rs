//! One caller's stream: what it has missed, then what the hub reads.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, stream};
use metrics::{counter, gauge};
use tandem_chassis::{deadline::Deadline, shutdown::Shutdown};
use tandem_replication::SystemIdentity;
use tokio::{
    sync::{Semaphore, broadcast, mpsc, oneshot},
    time::{Instant, interval_at, sleep, sleep_until, timeout},
};

use super::{
    Hub, WatchEnd, can_be_told,
    hub::{BETWEEN_STEPS, News},
    step::{Page, Step, present},
};
use crate::{
    domain::{ChangeKind, Sale, TransactionFilter, WatchPosition, WatchToken},
    store::Replica,
};

/// Streams of one process: each takes one of the calls that it answers at a time, 1,024 by default.
const MOST_WATCHERS: usize = 500;
/// Of those who have missed something so many read at a time: each page takes milliseconds.
pub const CATCHING_UP: usize = 2;
/// Messages that wait for one caller, beside what waits in the network.
const WAITING_MESSAGES: usize = 64;
/// A caller that takes none of them for so long is gone, or as good as gone.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Between messages when nothing is to be told: the token that a caller has is no older than this.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What became of a sale; `None` for a heartbeat.
    pub change: Option<(ChangeKind, Sale)>,
    /// Where it is then.
    pub token: WatchToken,
}

/// What one caller wants to be told.
#[derive(Clone, Debug)]
pub struct Watching {
    /// Of which sales.
    pub filter: TransactionFilter,
    /// Since when; `None`: from now on.
    pub resume: Option<WatchToken>,
    /// Until when; `None`: for as long as it reads.
    pub deadline: Option<Deadline>,
}

/// All watchers of a process.
#[derive(Clone)]
pub struct Watchers {
    hub: Arc<Hub>,
    replica: Replica,
    reads: Arc<Semaphore>,
    count: Arc<AtomicUsize>,
    shutdown: Shutdown,
}

/// Counts one watcher while it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        gauge!("tandem_watchers").decrement(1.0);
    }
}

impl Watchers {
    /// Told by `hub`; what one has missed is read from `replica`, whose pool must have [`CATCHING_UP`] connections for it.
    /// All streams end at once when `shutdown` begins.
    pub fn new(hub: Arc<Hub>, replica: Replica, shutdown: Shutdown) -> Self {
        Self { hub, replica, reads: Arc::new(Semaphore::new(CATCHING_UP)), count: Arc::default(), shutdown }
    }

    /// What is told from now on, or since the token. The stream ends with an error, always.
    ///
    /// Fails at once where the stream can't begin.
    pub async fn watch(
        &self,
        watching: Watching,
    ) -> Result<impl Stream<Item = Result<Told, WatchEnd>> + Send + use<>, WatchEnd> {
        let counted = self.count()?;
        let identity = self.check(watching.resume).await?;
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
        let (ended, end) = oneshot::channel();
        let task = Watcher { watchers: self.clone(), filter: watching.filter, identity, sender };
        let (resume, deadline) = (watching.resume, watching.deadline);
        tokio::spawn(async move {
            let _counted = counted;
            if let Some(end) = task.run(resume, deadline).await {
                counter!("tandem_watch_ended_total", "reason" => end.name()).increment(1);
                // The caller may be gone by now.
                let _nobody = ended.send(end);
            }
        });
        Ok(stream::unfold(Some((receiver, end)), |state| async move {
            let (mut receiver, end) = state?;
            match receiver.recv().await {
                Some(told) => Some((Ok(told), Some((receiver, end)))),
                None => Some((Err(end.await.unwrap_or(WatchEnd::Panicked)), None)),
            }
        }))
    }

    fn count(&self) -> Result<Counted, WatchEnd> {
        gauge!("tandem_watchers").increment(1.0);
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.count.clone());
        if before >= MOST_WATCHERS { Err(WatchEnd::TooMany) } else { Ok(counted) }
    }

    /// Whether a token can be resumed here; says whose horizons the stream's are.
    async fn check(&self, resume: Option<WatchToken>) -> Result<SystemIdentity, WatchEnd> {
        let _turn = self.reads.acquire().await.map_err(|_| WatchEnd::ShuttingDown)?;
        let present = present(&self.replica).await?;
        let Some(token) = resume else { return Ok(present.replica) };
        if token.replica != present.replica {
            return Err(WatchEnd::AnotherReplica);
        }
        can_be_told(token.position, &present)?;
        Ok(present.replica)
    }
}

/// One caller's.
struct Watcher {
    watchers: Watchers,
    filter: TransactionFilter,
    identity: SystemIdentity,
    sender: mpsc::Sender<Told>,
}

/// What the hub tells, and the position that it follows.
type Joined = (broadcast::Receiver<News>, WatchPosition);

impl Watcher {
    /// Until the end, and why; `None` when the caller has left.
    async fn run(self, resume: Option<WatchToken>, deadline: Option<Deadline>) -> Option<WatchEnd> {
        let passed = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.when()).await,
                None => std::future::pending().await,
            }
        };
        let sender = self.sender.clone();
        let shutdown = self.watchers.shutdown.clone();
        tokio::select! {
            biased;
            () = sender.closed() => None,
            () = shutdown.triggered() => Some(WatchEnd::ShuttingDown),
            () = passed => Some(WatchEnd::DeadlineExceeded),
            result = self.tell_all(resume) => result.err(),
        }
    }

    async fn tell_all(&self, resume: Option<WatchToken>) -> Result<std::convert::Infallible, WatchEnd> {
        let (news, position) = match resume {
            None => {
                let joined = self.join().await?;
                self.tell_nothing(joined.1).await?;
                joined
            }
            Some(WatchToken { position, .. }) => {
                self.tell_nothing(position).await?;
                self.catch_up(position).await?
            }
        };
        self.follow(news, position).await
    }

    /// What the hub tells from now on.
    async fn join(&self) -> Result<Joined, WatchEnd> {
        let (mut news, position) = self.watchers.hub.join();
        if let Some(position) = position {
            return Ok((news, position));
        }
        loop {
            match news.recv().await {
                Ok(News::Began(position)) => return Ok((news, position)),
                Ok(News::Ended(end)) => return Err(end),
                Ok(News::Page(_) | News::At(_)) => {}
                Err(error) => return Err(missed(&error)),
            }
        }
    }

    /// Tells what has changed since a position, until it is one where the hub can take over: the same horizon.
    async fn catch_up(&self, mut position: WatchPosition) -> Result<Joined, WatchEnd> {
        if position.is_within_a_step() {
            self.tell_step(Step::behind(position)).await?;
            position = WatchPosition::at(position.until_xid);
        }
        loop {
            let (news, there) = self.join().await?;
            if there.from_xid < position.from_xid {
                // It is in the middle of a step that ends here, or has not looked since another process told more.
                drop(news);
                sleep(BETWEEN_STEPS).await;
                continue;
            }
            let mut step = Step::between(position.from_xid, there.until_xid);
            position = WatchPosition::at(there.until_xid);
            let first = self.read(&mut step).await?;
            let is_short = first.as_ref().is_none_or(|page| page.end == position);
            if is_short && !there.is_within_a_step() {
                self.tell_if_any(first).await?;
                return Ok((news, position));
            }
            // What the hub tells meanwhile would be too much to keep.
            drop(news);
            self.tell_if_any(first).await?;
            self.tell_step(step).await?;
        }
    }

    async fn tell_if_any(&self, page: Option<Page>) -> Result<(), WatchEnd> {
        match page {
            Some(page) => self.tell_page(&page).await.map(drop),
            None => Ok(()),
        }
    }

    async fn tell_step(&self, mut step: Step) -> Result<(), WatchEnd> {
        while let Some(page) = self.read(&mut step).await? {
            self.tell_page(&page).await?;
        }
        Ok(())
    }

    async fn read(&self, step: &mut Step) -> Result<Option<Page>, WatchEnd> {
        let _turn = self.watchers.reads.acquire().await.map_err(|_| WatchEnd::ShuttingDown)?;
        step.next(&self.watchers.replica, self.identity).await.inspect_err(|end| {
            // The end of a stream that has begun has no room for a cause.
            if let WatchEnd::Database(error) = end {
                tracing::warn!(error = error as &dyn Error, "what a watcher has missed can't be read; it is sent away");
            }
        })
    }

    /// Tells what the hub tells.
    async fn follow(
        &self,
        mut news: broadcast::Receiver<News>,
        mut position: WatchPosition,
    ) -> Result<std::convert::Infallible, WatchEnd> {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            tokio::select! {
                biased;
                news = news.recv() => match news.map_err(|error| missed(&error))? {
                    News::Page(page) => {
                        position = page.end;
                        if self.tell_page(&page).await? > 0 {
                            heartbeat.reset();
                        }
                    }
                    News::At(there) => position = there,
                    News::Began(_) => {}
                    News::Ended(end) => return Err(end),
                },
                _ = heartbeat.tick() => self.tell_nothing(position).await?,
            }
        }
    }

    /// Tells what of a page passes the filter; says how many changes that were.
    async fn tell_page(&self, page: &Page) -> Result<usize, WatchEnd> {
        let mut told = 0;
        for (number, change) in (1..).zip(&page.changes) {
            let Some((kind, sale)) = change.seen_through(&self.filter) else { continue };
            let within =
                WatchPosition { from_xid: page.from_xid, until_xid: page.until_xid, after: change.transaction_id };
            let position = if number == page.changes.len() { page.end } else { within };
            self.tell(Some((kind, sale.clone())), position).await?;
            told += 1;
        }
        Ok(told)
    }

    async fn tell_nothing(&self, position: WatchPosition) -> Result<(), WatchEnd> {
        self.tell(None, position).await
    }

    async fn tell(&self, change: Option<(ChangeKind, Sale)>, position: WatchPosition) -> Result<(), WatchEnd> {
        let token = WatchToken { replica: self.identity, position };
        let sent = timeout(READ_LIMIT, self.sender.send(Told { change, token })).await;
        // Nobody hears the end when the caller has left.
        sent.map_err(|_| WatchEnd::TooSlow)?.map_err(|_| WatchEnd::TooSlow)
    }
}

fn missed(error: &broadcast::error::RecvError) -> WatchEnd {
    match error {
        broadcast::error::RecvError::Lagged(_) => WatchEnd::TooSlow,
        broadcast::error::RecvError::Closed => WatchEnd::ShuttingDown,
    }
}
