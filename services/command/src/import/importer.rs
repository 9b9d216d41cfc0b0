//! Admits streams: so many at once, and one for each import.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tandem_chassis::{database::Database, shutdown::Shutdown};
use tandem_replication::ConsistencyToken;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    error::ImportError,
    intake::Intake,
    writer::{Writer, fail},
};
use crate::{
    domain::import::{Progress, Refusal},
    store::{ImportConnection, ImportReceipt},
};

/// Chunks that wait for the writer: one is gathered, one waits, one is written, and memory holds no more.
const WAITING_CHUNKS: usize = 1;
/// A newer stream waits this long for the older one of its import to end with its chunk, when there is no other place.
const HANDOVER_LIMIT: Duration = Duration::from_secs(10);

/// How many imports there are at once, and how long a stream may be idle.
#[derive(Clone, Copy, Debug)]
pub struct ImportSettings {
    /// Imports in progress, each with a connection of its own beside the pool.
    pub imports: NonZeroUsize,
    /// How long a caller may send nothing, or take no answer.
    pub idle: Duration,
}

/// Which import a stream begins or resumes.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Names the import for good.
    pub import_id: Uuid,
    /// All rows, or none.
    pub all_or_nothing: bool,
    /// Refused rows behind this one are reported again.
    pub acknowledged: i64,
}

/// What a caller is told while its import goes on.
#[derive(Debug)]
pub enum Event {
    /// Where the import stands.
    Started {
        /// How far it has come.
        progress: Progress,
        /// Whether nothing is left to be sent.
        is_complete: bool,
    },
    /// A row is refused.
    Refused(Refusal),
    /// All rows up to one are durable or refused.
    Acknowledged {
        /// How far the import has come.
        progress: Progress,
        /// Covers it.
        token: ConsistencyToken,
        /// Rows that this stream has sent once more.
        rows_skipped: i64,
    },
    /// The import is complete.
    Completed(ImportReceipt),
}

/// Where a caller hears what happens; an error is the last word.
pub type EventSender = mpsc::Sender<Result<Event, ImportError>>;

/// Writes imports. Clones share the places.
#[derive(Clone)]
pub struct Importer(Arc<Shared>);

struct Shared {
    database: Database,
    settings: ImportSettings,
    committed: Arc<Notify>,
    shutdown: Shutdown,
    places: Arc<Semaphore>,
    /// The stream of each import that is in progress here.
    streams: Mutex<HashMap<Uuid, Stream>>,
    tasks: TaskTracker,
}

struct Stream {
    number: u64,
    superseded: CancellationToken,
}

impl Importer {
    /// Writes to `database` until `shutdown`, and tells `committed` of each commit.
    pub fn new(database: &Database, settings: ImportSettings, committed: Arc<Notify>, shutdown: Shutdown) -> Self {
        Self(Arc::new(Shared {
            database: database.clone(),
            settings,
            committed,
            shutdown,
            places: Arc::new(Semaphore::new(settings.imports.get().min(Semaphore::MAX_PERMITS))),
            streams: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Ends once the service does and no import is in progress any more.
    pub fn ended(&self) -> JoinHandle<()> {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            shared.shutdown.triggered().await;
            shared.tasks.close();
            shared.tasks.wait().await;
        })
    }

    /// How long a caller may send nothing.
    pub fn idle(&self) -> Duration {
        self.0.settings.idle
    }

    /// Runs a stream in a task of its own: the call that it came with may be dropped at any time.
    pub fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(stream.in_current_span());
    }

    /// Begins or resumes an import, and says so. Gives where its rows go; `None` when the import is complete.
    pub async fn begin(&self, start: Start, events: &EventSender) -> Result<Option<Intake>, ImportError> {
        let place = self.admit(start.import_id).await?;
        let Shared { database, settings, .. } = &*self.0;
        let begun = ImportConnection::begin(database, start.import_id, start.all_or_nothing, settings.idle);
        let connection = begun.await?;
        let (batch, is_complete) = (connection.batch(), connection.is_complete());
        let begun = self.begin_with(connection, place, start, events).await;
        if let Err(error) = &begun
            && !is_complete
        {
            fail(batch, database, error).await;
        }
        begun
    }

    async fn begin_with(
        &self,
        mut connection: ImportConnection,
        place: Place,
        start: Start,
        events: &EventSender,
    ) -> Result<Option<Intake>, ImportError> {
        let Shared { database, settings, committed, shutdown, .. } = &*self.0;
        let (progress, is_complete) = (connection.progress().clone(), connection.is_complete());
        let (chunks, waiting) = mpsc::channel(WAITING_CHUNKS);
        let intake = Intake::new(&progress, start.all_or_nothing, chunks);
        tell(events, settings.idle, Event::Started { progress, is_complete }).await?;
        for refusal in connection.refusals_behind(start.acknowledged).await? {
            tell(events, settings.idle, Event::Refused(refusal)).await?;
        }
        if is_complete {
            let receipt = connection.receipt().await?;
            // Free before the last word is heard.
            drop((connection, place));
            tell(events, settings.idle, Event::Completed(receipt)).await?;
            return Ok(None);
        }
        let (events, committed, shutdown) = (events.clone(), Arc::clone(committed), shutdown.clone());
        let (database, idle) = (database.clone(), settings.idle);
        let writer = Writer { connection, database, waiting, events, committed, shutdown, place, idle };
        self.spawn(writer.run());
        Ok(Some(intake))
    }

    /// A place for a stream. The older stream of the same import has to leave for it.
    async fn admit(&self, import_id: Uuid) -> Result<Place, ImportError> {
        if self.0.shutdown.is_triggered() {
            return Err(ImportError::ShuttingDown);
        }
        let (mut place, older) = self.0.enter(import_id);
        let places = Arc::clone(&self.0.places);
        place.permit = match (Arc::clone(&places).try_acquire_owned(), older) {
            (Ok(permit), _) => Some(permit),
            (Err(_), Some(_)) => timeout(HANDOVER_LIMIT, places.acquire_owned()).await.ok().and_then(Result::ok),
            (Err(_), None) => None,
        };
        if place.permit.is_none() { Err(ImportError::TooMany) } else { Ok(place) }
    }
}

impl Shared {
    /// Makes a stream known as the newest of its import, and asks the older one to leave, if there is one.
    fn enter(self: &Arc<Self>, import_id: Uuid) -> (Place, Option<Stream>) {
        let superseded = CancellationToken::new();
        let mut streams = self.streams();
        let older = streams.remove(&import_id);
        let number = older.as_ref().map_or(0, |older| older.number + 1);
        streams.insert(import_id, Stream { number, superseded: superseded.clone() });
        if let Some(older) = &older {
            older.superseded.cancel();
        }
        (Place { shared: Arc::clone(self), import_id, number, superseded, permit: None }, older)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<Uuid, Stream>> {
        // The map is whole after each statement, so a panic elsewhere leaves nothing half-done.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places for imports; free again, and its stream forgotten, when it is dropped.
pub struct Place {
    shared: Arc<Shared>,
    import_id: Uuid,
    number: u64,
    superseded: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Resolves when a newer stream of the same import has come.
    pub async fn superseded(&self) {
        self.superseded.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.shared.streams();
        if streams.get(&self.import_id).is_some_and(|stream| stream.number == self.number) {
            streams.remove(&self.import_id);
        }
    }
}

/// Tells the caller, who has to take it in time.
pub async fn tell(events: &EventSender, idle: Duration, event: Event) -> Result<(), ImportError> {
    match timeout(idle, events.send(Ok(event))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(ImportError::CallerLeft),
        Err(_) => Err(ImportError::Idle),
    }
}
