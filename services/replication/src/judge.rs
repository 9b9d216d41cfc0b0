//! Tells motion from silence, which takes a memory: one look at a replica that is behind does not say whether it moves.

use std::time::{Duration, Instant};

use crate::{Drift, Lsn, PrimaryLook, ReplicaLook, Slot, SlotPurpose, State, Subscription, TableState, Verdict};

/// A replica that is behind and has not moved for this long is stuck. At rest the primary is heard of every 2 seconds
/// (its watermark), now and then only after 5.
pub const STUCK_AFTER: Duration = Duration::from_secs(10);
/// A replica that had everything this short a time ago is not catching up but at work.
const AT_WORK: Duration = Duration::from_secs(5);
/// A worker that fails is started again after `wal_retrieve_retry_interval` (5 seconds unless set otherwise): errors that
/// belong together are not further apart than this.
const ERRORS_TOGETHER: Duration = Duration::from_secs(30);
/// With less than this part of its WAL limit left, a slot is in danger: time enough to act, and far from everyday lag.
pub const DANGER: f64 = 0.25;

/// What was seen of a replica so far.
#[derive(Debug)]
pub struct Judge {
    subscription: String,
    /// Slots whose readers are watched elsewhere.
    known_slots: Vec<String>,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Memory {
    farthest: Progress,
    moved: Instant,
    /// Whether that was seen, or is only when it was looked at first.
    has_moved: bool,
    /// What the tables took on disk when they were last looked at.
    table_bytes: i64,
    apply_errors: Errors,
    sync_errors: Errors,
    /// Where the primary was last.
    flushed: Option<Lsn>,
    /// Where the primary was, and when; until the replica shows it.
    awaited: Option<(Lsn, Instant)>,
    /// The replica has all that was flushed before this.
    complete: Option<Instant>,
    connected: Instant,
}

/// A counter of errors.
#[derive(Clone, Copy, Debug)]
struct Errors {
    counted: i64,
    /// How many have come since something moved that they would keep from moving.
    in_a_row: i64,
    last: Option<Instant>,
}

impl Errors {
    const fn of(counted: i64) -> Self {
        Self { counted, in_a_row: 0, last: None }
    }

    fn note(&mut self, counted: i64, got_over: bool, now: Instant) {
        if got_over {
            self.in_a_row = 0;
        }
        // Counters that were reset are no errors.
        if counted > self.counted {
            self.in_a_row += counted - self.counted;
            self.last = Some(now);
        }
        self.counted = counted;
    }

    /// One error alone is what a primary that is restarted leaves behind, too.
    fn go_on(&self, now: Instant) -> bool {
        let recently = |last| now.saturating_duration_since(last) < ERRORS_TOGETHER;
        self.in_a_row > 1 && self.last.is_some_and(recently)
    }
}

/// Everything that grows while a replica is at work, each at its highest: a worker that starts anew counts from below.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Progress {
    applied: Option<Lsn>,
    received: Option<Lsn>,
    confirmed: Option<Lsn>,
    ready: usize,
}

impl Progress {
    fn of(primary: Option<&PrimaryLook>, replica: &ReplicaLook, slot: &str) -> Self {
        let tables = replica.subscription.iter().flat_map(|subscription| &subscription.tables);
        Self {
            applied: replica.position(),
            received: replica.subscription.as_ref().and_then(|subscription| subscription.progress.received_lsn),
            confirmed: primary.and_then(|primary| primary.slot(slot)?.confirmed_flush_lsn),
            ready: tables.filter(|table| table.state == TableState::Ready).count(),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            applied: self.applied.max(other.applied),
            received: self.received.max(other.received),
            confirmed: self.confirmed.max(other.confirmed),
            ready: self.ready.max(other.ready),
        }
    }
}

/// One moment, with what is remembered.
struct Seen<'a> {
    primary: Option<&'a PrimaryLook>,
    replica: &'a ReplicaLook,
    slot: Option<&'a Slot>,
    memory: &'a Memory,
    known_slots: &'a [String],
    now: Instant,
}

impl Judge {
    /// Judges the replica that this subscription feeds; its slot has the same name. `known_slots` are those of others.
    pub fn new(subscription: String, mut known_slots: Vec<String>) -> Self {
        known_slots.push(subscription.clone());
        Self { subscription, known_slots, memory: None }
    }

    /// The slots that nobody reads and nobody is known to.
    pub fn orphans<'a>(&'a self, primary: &'a PrimaryLook) -> impl Iterator<Item = &'a Slot> {
        primary.slots.iter().filter(|slot| slot.is_orphan(&self.known_slots))
    }

    /// What both sides say now, in the light of what they said before. The primary must have been asked first, else a
    /// replica at work looks late. `None`: it did not answer, or is not to be asked.
    pub fn judge(&mut self, primary: Option<&PrimaryLook>, replica: &ReplicaLook, now: Instant) -> Verdict {
        self.remember(primary, replica, now);
        let memory = self.memory.as_ref().expect("it has just been remembered");
        let slot = primary.and_then(|primary| primary.slot(&self.subscription));
        let seen = Seen { primary, replica, slot, memory, known_slots: &self.known_slots, now };
        seen.verdict()
    }

    fn remember(&mut self, primary: Option<&PrimaryLook>, replica: &ReplicaLook, now: Instant) {
        let progress = Progress::of(primary, replica, &self.subscription);
        let counted = |of: fn(&Subscription) -> i64| replica.subscription.as_ref().map_or(0, of);
        let (apply_errors, sync_errors) = (counted(|found| found.apply_errors), counted(|found| found.sync_errors));
        let memory = self.memory.get_or_insert(Memory {
            farthest: progress,
            moved: now,
            has_moved: false,
            table_bytes: replica.table_bytes,
            apply_errors: Errors::of(apply_errors),
            sync_errors: Errors::of(sync_errors),
            flushed: None,
            awaited: None,
            complete: None,
            connected: now,
        });
        let flushed = primary.map(|primary| primary.flushed);
        // A primary that has gone back is another one, or an older copy: from here on everything counts afresh.
        let went_back = flushed.is_some() && flushed < memory.flushed;
        let farthest = if went_back { progress } else { memory.farthest.max(progress) };
        let moves = farthest != memory.farthest;
        if moves {
            (memory.moved, memory.has_moved) = (now, true);
        }
        // In the middle of a large transaction only the tables grow. It is no progress by which a worker would have got over its
        // errors: one that fails does so in the middle, again and again.
        if replica.table_bytes > memory.table_bytes {
            (memory.moved, memory.has_moved) = (now, true);
        }
        memory.table_bytes = replica.table_bytes;
        memory.apply_errors.note(apply_errors, moves, now);
        memory.sync_errors.note(sync_errors, farthest.ready > memory.farthest.ready, now);
        (memory.farthest, memory.flushed) = (farthest, flushed.or(memory.flushed));
        if primary.and_then(|primary| primary.slot(&self.subscription)).is_none_or(|slot| slot.active) {
            memory.connected = now;
        }
        memory.note_completeness(flushed, replica, now);
    }
}

impl Memory {
    /// Whether the replica has everything that the primary had, now or when it was asked before.
    fn note_completeness(&mut self, flushed: Option<Lsn>, replica: &ReplicaLook, now: Instant) {
        if let Some(flushed) = flushed {
            self.awaited.get_or_insert((flushed, now));
        }
        let here = replica.position().filter(|_| replica.tables_copying() == 0);
        let Some((here, (there, asked))) = here.zip(self.awaited) else { return };
        if here >= there {
            self.complete = Some(asked);
            // What has come to the primary since is awaited from now on; where nothing has, it is complete as of now.
            self.awaited = flushed.filter(|&flushed| here < flushed).map(|flushed| (flushed, now));
            if flushed.is_some() && self.awaited.is_none() {
                self.complete = Some(now);
            }
        }
    }
}

impl Seen<'_> {
    fn verdict(&self) -> Verdict {
        let mut found = self.troubles();
        found.sort_by_key(|(state, _)| *state);
        let mut told = found.into_iter();
        let (state, reason) = match told.next() {
            Some(worst) => worst,
            None => (State::Healthy, self.how_well()),
        };
        Verdict {
            state,
            reason,
            also: told.map(|(_, reason)| reason).chain(self.side_notes()).collect(),
            still_for: self.still_for(),
            behind_for: self.behind_for(),
            settled: state.is_trouble() || self.has_shown_how_it_is(),
        }
    }

    fn has_shown_how_it_is(&self) -> bool {
        self.memory.connected == self.now && (self.memory.has_moved || self.memory.complete.is_some())
    }

    fn troubles(&self) -> Vec<(State, String)> {
        let Some(subscription) = &self.replica.subscription else {
            return vec![(State::Unsubscribed, "the replica has no subscription of this name".to_owned())];
        };
        let checks = [
            self.lost(),
            (!subscription.enabled).then(|| (State::Disabled, "the subscription is switched off".to_owned())),
            self.failing(subscription),
            self.disconnected(subscription),
            self.stuck(subscription),
            self.endangered(),
            self.drifted(),
            self.unknown(),
            self.copying(),
            self.catching_up(),
        ];
        checks.into_iter().flatten().collect()
    }

    fn lost(&self) -> Option<(State, String)> {
        self.primary?;
        match self.slot {
            None => Some((State::Lost, "the primary has no slot for this replica".to_owned())),
            Some(slot) if slot.is_lost() => {
                Some((State::Lost, format!("slot {} is lost: the primary has removed WAL that it needed", slot.name)))
            }
            Some(_) => None,
        }
    }

    fn is_failing(&self) -> bool {
        self.memory.apply_errors.go_on(self.now) || self.memory.sync_errors.go_on(self.now)
    }

    fn failing(&self, subscription: &Subscription) -> Option<(State, String)> {
        let Subscription { apply_errors, sync_errors, .. } = subscription;
        let counted = format!("{apply_errors} errors of apply and {sync_errors} of copies so far");
        // Which of the counters of PostgreSQL 18 belong to it is not said: those that stop a worker are named.
        let stopping = ["insert_exists", "update_exists", "multiple_unique_conflicts"];
        let conflicts = subscription.conflicts.iter().filter(|found| found.count > 0);
        let conflicts: Vec<_> = conflicts.filter(|found| stopping.contains(&found.kind.as_str())).collect();
        let known = conflicts.iter().map(|found| format!("{} times {}", found.count, found.kind));
        let known: Vec<_> = known.chain(self.stopping_drift()).collect();
        let because = match known.is_empty() {
            true => {
                "why, PostgreSQL says in the replica's log alone; a row that stands in the way, `heal` names".to_owned()
            }
            false => known.join("; "),
        };
        self.is_failing().then(|| (State::Failing, format!("changes can't be applied: {because} ({counted})")))
    }

    fn disconnected(&self, subscription: &Subscription) -> Option<(State, String)> {
        let away = self.since(self.memory.connected);
        let told = || format!("nobody has read from the slot for {} s", away.as_secs());
        (subscription.enabled && away >= STUCK_AFTER).then(|| (State::Disconnected, told()))
    }

    fn stuck(&self, subscription: &Subscription) -> Option<(State, String)> {
        let still = self.still_for();
        let told = || format!("{} are waiting, and nothing has moved for {} s", self.waiting(), still.as_secs());
        // While tables are copied it is the stream that can be stuck, and it may have nothing to bring.
        let known = subscription.enabled && self.behind_by().is_some_and(|bytes| bytes > 0);
        (known && still >= STUCK_AFTER).then(|| (State::Stuck, told()))
    }

    fn endangered(&self) -> Option<(State, String)> {
        let slot = self.slot.filter(|slot| !slot.is_lost())?;
        let left = slot.safe_wal_bytes.zip(self.primary?.slot_wal_limit);
        let part = left.map(|(safe, limit)| safe as f64 / limit.max(1) as f64);
        let endangered = slot.wal_status.as_deref() == Some("unreserved") || part.is_some_and(|part| part < DANGER);
        let safe = slot.safe_wal_bytes.unwrap_or_default().max(0);
        endangered.then(|| (State::Endangered, format!("the slot is lost after {safe} more bytes of WAL")))
    }

    fn stopping_drift(&self) -> Vec<String> {
        self.drifts().into_iter().filter(|drift| drift.kind.stops_apply()).map(|drift| drift.to_string()).collect()
    }

    fn drifted(&self) -> Option<(State, String)> {
        let stopping = self.stopping_drift();
        (!stopping.is_empty()).then(|| (State::Drifted, stopping.join("; ")))
    }

    fn unknown(&self) -> Option<(State, String)> {
        let quiet = self.since(self.memory.moved);
        let told = || format!("the primary does not answer, and nothing has come for {} s", quiet.as_secs());
        (self.primary.is_none() && quiet >= STUCK_AFTER).then(|| (State::Unknown, told()))
    }

    fn copying(&self) -> Option<(State, String)> {
        let tables = self.replica.tables_copying();
        (tables > 0).then(|| (State::Copying, format!("{tables} tables are being copied")))
    }

    fn catching_up(&self) -> Option<(State, String)> {
        let at_work = self.behind_for().is_none_or(|behind| behind < AT_WORK);
        let (still, moved) = (self.still_for(), self.since(self.memory.moved).as_secs());
        let told = || format!("{} are waiting, and it last moved {moved} s ago", self.waiting());
        (!at_work && still < STUCK_AFTER && self.primary.is_some()).then(|| (State::CatchingUp, told()))
    }

    fn how_well(&self) -> String {
        match (self.primary, self.behind_by()) {
            (None, _) => "it moves; the primary can't be asked".to_owned(),
            (Some(_), Some(0)) => "everything that the primary has is visible".to_owned(),
            (Some(_), _) => format!("at work, {} behind", self.waiting()),
        }
    }

    /// What is no trouble of this replica's way and deserves a look all the same.
    fn side_notes(&self) -> Vec<String> {
        let orphans = self.primary.iter().flat_map(|primary| &primary.slots);
        let orphans = orphans.filter(|slot| slot.is_orphan(self.known_slots));
        let orphans = orphans.map(|slot| {
            let Slot { name, retained_wal_bytes: kept, .. } = slot;
            let what_to_do = match slot.purpose() {
                SlotPurpose::Verification => "a verifier left it, and whoever verifies next takes it away".to_owned(),
                SlotPurpose::Subscription | SlotPurpose::TableCopy | SlotPurpose::Other => {
                    format!("unless its reader comes back, drop it (slots drop {name})")
                }
            };
            format!("slot {name} keeps {kept} bytes of WAL for nobody: {what_to_do}")
        });
        let drifts = self.drifts().into_iter().filter(|drift| !drift.kind.stops_apply());
        let unlimited = self.primary.is_some_and(|primary| primary.slot_wal_limit.is_none());
        let unlimited =
            unlimited.then(|| "max_slot_wal_keep_size is not set: a slot can fill the primary's disk".to_owned());
        orphans.chain(drifts.map(|drift| drift.to_string())).chain(unlimited).collect()
    }

    fn drifts(&self) -> Vec<Drift> {
        self.primary.map(|primary| self.replica.drifts(primary)).unwrap_or_default()
    }

    fn waiting(&self) -> String {
        self.behind_by().map_or_else(|| "changes".to_owned(), |bytes| format!("{bytes} bytes"))
    }

    /// Bytes that are flushed on the primary and not visible here; `None` where either is not known.
    fn behind_by(&self) -> Option<u64> {
        Some(self.primary?.flushed.bytes_since(self.replica.position()?))
    }

    /// Since the primary had something that is still missing, or since something last moved, whichever is later.
    fn still_for(&self) -> Duration {
        let missing = self.memory.awaited.map(|(_, asked)| self.since(asked)).unwrap_or_default();
        missing.min(self.since(self.memory.moved))
    }

    fn behind_for(&self) -> Option<Duration> {
        self.memory.complete.map(|complete| self.since(complete))
    }

    fn since(&self, moment: Instant) -> Duration {
        self.now.saturating_duration_since(moment)
    }
}

#[cfg(test)]
mod tests;
