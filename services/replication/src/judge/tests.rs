//! Histories of looks, and what is thought of them.

use std::time::{Duration, Instant};

use super::{Judge, STUCK_AFTER};
use crate::{
    ApplyProgress, Lsn, Position, PrimaryLook, Publication, ReplicaLook, Slot, State, SubscribedTable, Subscription,
    SystemIdentity, TableState, Verdict,
};

const NAME: &str = "shop";
const LIMIT: i64 = 1_000;

fn primary(flushed: u64) -> PrimaryLook {
    let identity = SystemIdentity { system_identifier: 7, timeline: 1 };
    PrimaryLook {
        position: Position { identity, lsn: Lsn::new(flushed) },
        flushed: Lsn::new(flushed),
        publication: Some(Publication {
            name: "p".to_owned(),
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            tables: Vec::new(),
        }),
        columns: Vec::new(),
        slots: vec![slot()],
        slot_wal_limit: Some(LIMIT),
        database: "tandem".to_owned(),
    }
}

fn slot() -> Slot {
    Slot {
        name: NAME.to_owned(),
        database: Some("tandem".to_owned()),
        plugin: Some("pgoutput".to_owned()),
        temporary: false,
        active: true,
        active_pid: Some(1),
        wal_status: Some("reserved".to_owned()),
        restart_lsn: None,
        confirmed_flush_lsn: None,
        retained_wal_bytes: 0,
        safe_wal_bytes: Some(LIMIT),
    }
}

fn replica(applied: u64) -> ReplicaLook {
    let applied_lsn = Some(Lsn::new(applied));
    let progress = ApplyProgress { running: true, applied_lsn, ..ApplyProgress::default() };
    let subscription = Subscription {
        name: NAME.to_owned(),
        enabled: true,
        publications: Vec::new(),
        apply_errors: 0,
        sync_errors: 0,
        conflicts: Vec::new(),
        tables: Vec::new(),
        progress,
    };
    ReplicaLook { subscription: Some(subscription), watermark: None, table_bytes: 0, columns: Vec::new() }
}

fn with(applied: u64, change: impl FnOnce(&mut Subscription)) -> ReplicaLook {
    let mut look = replica(applied);
    change(look.subscription.as_mut().unwrap());
    look
}

/// Looks a second apart.
struct History {
    judge: Judge,
    now: Instant,
}

impl History {
    fn new() -> Self {
        Self { judge: Judge::new(NAME.to_owned(), Vec::new()), now: Instant::now() }
    }

    fn look(&mut self, primary: Option<&PrimaryLook>, replica: &ReplicaLook) -> Verdict {
        self.now += Duration::from_secs(1);
        self.judge.judge(primary, replica, self.now)
    }

    fn states(&mut self, looks: u64, of: impl Fn(u64) -> (PrimaryLook, ReplicaLook)) -> Vec<State> {
        let look = |second| {
            let (primary, replica) = of(second);
            self.look(Some(&primary), &replica).state
        };
        let mut states: Vec<_> = (0..looks).map(look).collect();
        states.dedup();
        states
    }
}

const LONG: u64 = STUCK_AFTER.as_secs() * 3;

#[test]
fn silence_is_health_and_standing_still_before_work_is_not() {
    assert_eq!(History::new().states(LONG, |_| (primary(100), replica(100))), [State::Healthy]);
    let stands = History::new().states(LONG, |second| (primary(100 + second), replica(100)));
    assert_eq!(stands, [State::Healthy, State::CatchingUp, State::Stuck], "only time tells one from the other");
}

#[test]
fn one_that_is_always_a_little_behind_is_at_work_and_one_far_behind_that_moves_catches_up() {
    assert_eq!(History::new().states(LONG, |second| (primary(100 + second), replica(99 + second))), [State::Healthy]);
    let mut history = History::new();
    history.look(Some(&primary(100)), &replica(100));
    let behind = history.states(LONG, |second| (primary(10_000 + second), replica(100 + second)));
    assert_eq!(behind, [State::Healthy, State::CatchingUp]);
}

#[test]
fn what_was_stuck_is_well_as_soon_as_it_has_everything() {
    let mut history = History::new();
    history.states(LONG, |_| (primary(200), replica(100)));
    let back = history.look(Some(&primary(200)), &replica(200));
    assert_eq!((back.state, back.still_for, back.behind_for), (State::Healthy, Duration::ZERO, Some(Duration::ZERO)));
}

#[test]
fn errors_again_and_again_are_a_failure_and_one_that_was_got_over_is_none() {
    let errors = |count| with(100, |subscription| subscription.apply_errors = count);
    let mut history = History::new();
    assert_eq!(history.look(Some(&primary(200)), &errors(5)).state, State::Healthy, "they may be old ones");
    assert_eq!(history.look(Some(&primary(200)), &errors(6)).state, State::Healthy, "a restart makes one");
    let failing = history.look(Some(&primary(200)), &errors(7));
    assert_eq!(failing.state, State::Failing);
    assert!(failing.reason.contains("log alone"), "{failing:?}");
    let moved = with(150, |subscription| subscription.apply_errors = 7);
    assert_eq!(history.look(Some(&primary(200)), &moved).state, State::Healthy);
}

#[test]
fn a_worker_that_starts_again_from_below_has_not_moved() {
    // As it connects it is told where the primary is, and it knows nothing when it has just failed.
    let at = |applied, count| with(applied, |subscription| subscription.apply_errors = count);
    let states = History::new().states(LONG, |second| {
        (primary(200), if second % 2 == 0 { at(150, second.cast_signed()) } else { at(100, second.cast_signed()) })
    });
    assert_eq!(states, [State::Healthy, State::Failing]);
}

#[test]
fn a_table_that_can_not_be_copied_is_a_failure_though_the_stream_goes_on() {
    let states = History::new().states(LONG, |second| {
        let failing = with(second, |subscription| {
            subscription.sync_errors = second.cast_signed();
            subscription.tables.push(SubscribedTable { name: "sales.a".to_owned(), state: TableState::Copying });
        });
        (primary(second), failing)
    });
    assert_eq!(states, [State::Copying, State::Failing]);
}

#[test]
fn whether_it_is_well_is_not_said_before_it_is_known() {
    let mut history = History::new();
    assert!(!history.look(Some(&primary(200)), &replica(100)).settled);
    assert!(history.look(Some(&primary(200)), &replica(101)).settled, "it moves");
    assert!(History::new().look(Some(&primary(200)), &replica(200)).settled, "it has everything");
}

#[test]
fn a_slot_that_nobody_reads_is_told_after_a_while_and_one_that_is_gone_at_once() {
    let away = || PrimaryLook { slots: vec![Slot { active: false, ..slot() }], ..primary(100) };
    assert_eq!(History::new().states(LONG, |_| (away(), replica(100))), [State::Healthy, State::Disconnected]);
    let gone = PrimaryLook { slots: Vec::new(), ..primary(100) };
    assert_eq!(History::new().look(Some(&gone), &replica(100)).state, State::Lost);
    let lost = Slot { wal_status: Some("lost".to_owned()), safe_wal_bytes: None, ..slot() };
    let lost = PrimaryLook { slots: vec![lost], ..primary(100) };
    assert_eq!(History::new().look(Some(&lost), &replica(100)).state, State::Lost);
}

#[test]
fn danger_is_told_before_the_slot_is_lost_also_of_a_subscription_that_is_off() {
    let nearly = |safe| PrimaryLook { slots: vec![Slot { safe_wal_bytes: Some(safe), ..slot() }], ..primary(100) };
    assert_eq!(History::new().look(Some(&nearly(LIMIT / 4)), &replica(100)).state, State::Healthy);
    assert_eq!(History::new().look(Some(&nearly(LIMIT / 4 - 1)), &replica(100)).state, State::Endangered);
    let off = with(100, |subscription| subscription.enabled = false);
    let verdict = History::new().look(Some(&nearly(1)), &off);
    assert_eq!((verdict.state, verdict.also.len()), (State::Disabled, 1), "{verdict:?}");
}

#[test]
fn without_the_primary_what_moves_is_well_and_what_is_silent_is_unknown() {
    let mut history = History::new();
    let moves: Vec<_> = (0..LONG).map(|second| history.look(None, &replica(second)).state).collect();
    assert!(moves.iter().all(|&state| state == State::Healthy), "{moves:?}");
    let silent: Vec<_> = (0..LONG).map(|_| history.look(None, &replica(LONG)).state).collect();
    assert_eq!(silent.last(), Some(&State::Unknown));
}

#[test]
fn tables_that_are_copied_are_neither_health_nor_standstill() {
    let copying = with(100, |subscription| {
        subscription.tables.push(SubscribedTable { name: "sales.a".to_owned(), state: TableState::Copying });
    });
    let long = History::new().states(LONG, |_| (primary(100), copying.clone()));
    assert_eq!(long, [State::Copying], "the stream has nothing to bring meanwhile");
    assert_eq!(History::new().look(None, &ReplicaLook { subscription: None, ..replica(1) }).state, State::Unsubscribed);
}
