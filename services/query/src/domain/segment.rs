//! Stretches of time that figures are added up over.

use chrono::{DateTime, Utc};

/// What the figures of a stretch of time are taken from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grain {
    /// Rollups of whole days, UTC.
    Day,
    /// Rollups of whole hours, UTC.
    Hour,
    /// The sales themselves.
    Sale,
}

/// A half-open stretch of time whose figures go to one step of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Which step: several segments may make one.
    pub step: i32,
    /// What the figures are taken from. Of [`Grain::Day`] and [`Grain::Hour`] both ends are whole ones, UTC.
    pub grain: Grain,
    /// Inclusive.
    pub start: DateTime<Utc>,
    /// Exclusive, after `start`.
    pub end: DateTime<Utc>,
}
