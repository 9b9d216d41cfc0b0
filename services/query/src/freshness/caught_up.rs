//! When the replica was last known to have all that the primary had.
//!
//! Watermarks tell it as long as somebody writes them. While no command service runs there are none, and the replica
//! seems to grow stale though nothing is missing: so the primary is asked where it is, and the replica watched until it
//! shows that much. That says nothing to callers, whose figure is the watermark's; it keeps queries in a load balancer
//! while commands are stopped.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tandem_replication::Position;

use crate::store::Applied;

/// What the primary and the replica say, one after the other. Clones speak of the same two.
#[derive(Clone, Debug, Default)]
pub struct CaughtUp(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// Where the primary was, and a moment before it was asked; until the replica shows it.
    awaited: Option<(Position, Instant)>,
    /// The replica has all that was committed before this.
    since: Option<Instant>,
}

impl CaughtUp {
    /// The primary, asked at that moment, said where it was. What is awaited already is awaited on: a replica that
    /// always is some seconds late would never get there otherwise.
    pub fn primary_was_at(&self, position: Position, asked: Instant) {
        self.change(|known| {
            if known.awaited.is_none_or(|(awaited, _)| awaited.identity != position.identity) {
                known.awaited = Some((position, asked));
            }
        });
    }

    /// The replica shows this much. Where it does not know, what was known before is no longer true either.
    pub fn replica_is_at(&self, applied: Applied) {
        self.change(|known| match (applied.position, known.awaited) {
            (None, _) => known.since = None,
            (Some(here), Some((there, asked))) if here.identity == there.identity && here.lsn >= there.lsn => {
                *known = Known { awaited: None, since: Some(asked) };
            }
            _ => {}
        });
    }

    /// The replica has all that was committed before this; `None` while that is not known.
    pub fn since(&self) -> Option<Instant> {
        self.change(|known| known.since)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        // Nothing that runs under this lock can leave it half-changed.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::{Lsn, SystemIdentity};

    use super::{Applied, CaughtUp, Instant, Position};

    fn position(timeline: i32, lsn: u64) -> Position {
        Position { identity: SystemIdentity { system_identifier: 7, timeline }, lsn: Lsn::new(lsn) }
    }

    fn at(position: Position) -> Applied {
        Applied { position: Some(position), ..Applied::default() }
    }

    #[test]
    fn the_replica_is_as_late_as_the_question_whose_answer_it_has_reached() {
        let caught_up = CaughtUp::default();
        let first = Instant::now();
        caught_up.primary_was_at(position(1, 100), first);
        caught_up.replica_is_at(at(position(1, 99)));
        assert_eq!(caught_up.since(), None);
        // It is later than the time between two questions, and gets there all the same.
        caught_up.primary_was_at(position(1, 200), Instant::now());
        caught_up.replica_is_at(at(position(1, 100)));
        assert_eq!(caught_up.since(), Some(first));
        let second = Instant::now();
        caught_up.primary_was_at(position(1, 300), second);
        caught_up.replica_is_at(at(position(1, 299)));
        assert_eq!(caught_up.since(), Some(first));
        caught_up.replica_is_at(at(position(1, 300)));
        assert_eq!(caught_up.since(), Some(second));
    }

    #[test]
    fn another_history_and_tables_that_are_copied_tell_nothing() {
        let caught_up = CaughtUp::default();
        caught_up.primary_was_at(position(1, 100), Instant::now());
        caught_up.replica_is_at(at(position(2, 500)));
        assert_eq!(caught_up.since(), None);
        let asked = Instant::now();
        caught_up.primary_was_at(position(2, 400), asked);
        caught_up.replica_is_at(at(position(2, 500)));
        assert_eq!(caught_up.since(), Some(asked));
        caught_up.replica_is_at(Applied { tables_copying: 1, ..Applied::default() });
        assert_eq!(caught_up.since(), None);
    }
}
