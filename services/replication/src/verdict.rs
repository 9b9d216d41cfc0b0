//! How replication is doing, in one word with its reason.

use std::time::Duration;

use serde::Serialize;

/// The overall state, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The replica has no subscription.
    Unsubscribed,
    /// WAL that the replica needs is gone, or its slot is: it has to be built anew.
    Lost,
    /// The subscription is switched off.
    Disabled,
    /// The apply worker, or one that copies a table, fails again and again.
    Failing,
    /// Nobody reads from the slot, though the subscription is on.
    Disconnected,
    /// There is something to apply, and nothing moves.
    Stuck,
    /// The slot will soon be lost.
    Endangered,
    /// The tables of both sides have grown apart, and apply fails at the next change.
    Drifted,
    /// The primary does not answer, and nothing has come for a while: silence and a stop can't be told apart.
    Unknown,
    /// Tables are being copied.
    Copying,
    /// The replica is behind, and moves.
    CatchingUp,
    /// The replica has what the primary has, or is so close behind that it makes no difference.
    Healthy,
}

impl State {
    /// Every state, the worst first.
    pub const ALL: [Self; 12] = [
        Self::Unsubscribed,
        Self::Lost,
        Self::Disabled,
        Self::Failing,
        Self::Disconnected,
        Self::Stuck,
        Self::Endangered,
        Self::Drifted,
        Self::Unknown,
        Self::Copying,
        Self::CatchingUp,
        Self::Healthy,
    ];

    /// Whether somebody has to do something: what is left passes by itself.
    pub fn is_trouble(self) -> bool {
        self <= Self::Unknown
    }

    /// In lower case, words joined by an underscore.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Lost => "lost",
            Self::Disabled => "disabled",
            Self::Failing => "failing",
            Self::Disconnected => "disconnected",
            Self::Stuck => "stuck",
            Self::Endangered => "endangered",
            Self::Drifted => "drifted",
            Self::Unknown => "unknown",
            Self::Copying => "copying",
            Self::CatchingUp => "catching_up",
            Self::Healthy => "healthy",
        }
    }
}

/// The state, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Verdict {
    /// In one word.
    pub state: State,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// What else deserves a look, worst first.
    pub also: Vec<String>,
    /// For how long there has been something to apply and nothing has moved; zero while it moves or nothing is missing.
    #[serde(skip)]
    pub still_for: Duration,
    /// How long ago the replica last had everything that the primary had; `None` while that is not known.
    #[serde(skip)]
    pub behind_for: Option<Duration>,
    /// Whether further looks would say the same: until something has moved or has stood still for long, one that is behind
    /// may be at work or stuck.
    #[serde(skip)]
    pub settled: bool,
}
