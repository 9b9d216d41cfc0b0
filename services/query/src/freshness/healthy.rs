//! Whether the replica is fresh enough for queries to be sent here.

use std::{fmt, str::FromStr, time::Duration};

use tandem_chassis::{health::Condition, settings::parse_duration, shutdown::Shutdown};
use tokio::time::{MissedTickBehavior, interval};

use super::Freshness;

/// Between two judgements: as often as the watcher looks while nobody waits. They cost the database nothing.
const BETWEEN_JUDGEMENTS: Duration = Duration::from_millis(250);
/// At rest a watermark comes every 2 seconds, and the primary is asked where it is every 5: with less than this a healthy replica would come and go.
const LEAST: Duration = Duration::from_secs(3);

/// How stale the replica may be before it counts as unhealthy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthyStaleness {
    /// As stale as it likes.
    Off,
    /// No staler than this.
    AtMost(Duration),
}

impl FromStr for HealthyStaleness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match parse_duration(text).map_err(|error| format!("{error}, or off"))? {
            short if short < LEAST => {
                Err(format!("must be at least {}s: at rest a watermark comes every 2s", LEAST.as_secs()))
            }
            most => Ok(Self::AtMost(most)),
        }
    }
}

/// The judgement, with what was judged last.
struct Judge {
    most: Duration,
    fresh: bool,
}

impl Judge {
    /// Judges anew, and says whether that changed anything. Who was too stale has to come back to half of what is allowed,
    /// so that a replica that stays near the limit does not come and go. What is not known is not fresh.
    fn judge(&mut self, staleness: Option<Duration>) -> bool {
        let most = if self.fresh { self.most } else { self.most / 2 };
        let fresh = staleness.is_some_and(|staleness| staleness <= most);
        std::mem::replace(&mut self.fresh, fresh) != fresh
    }
}

/// Keeps `condition` as what is known of the replica's freshness has it, until shutdown.
pub async fn watch_staleness(freshness: Freshness, most: Duration, condition: Condition, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.triggered() => {}
        () = judge_again_and_again(&freshness, most, &condition) => {}
    }
}

async fn judge_again_and_again(freshness: &Freshness, most: Duration, condition: &Condition) {
    let mut judge = Judge { most, fresh: false };
    let mut tick = interval(BETWEEN_JUDGEMENTS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let staleness = freshness.staleness();
        if judge.judge(staleness) {
            report(judge.fresh, staleness, most);
            condition.set(judge.fresh).await;
        }
    }
}

/// One line for each change.
fn report(fresh: bool, staleness: Option<Duration>, most: Duration) {
    let staleness = staleness.map_or_else(|| "unknown".to_owned(), |staleness| Seconds(staleness).to_string());
    let most = Seconds(most);
    if fresh {
        tracing::info!(%staleness, %most, "the replica is fresh enough to be asked");
    } else {
        tracing::warn!(%staleness, %most, "the replica is too stale to be asked");
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, HealthyStaleness, Judge};

    const fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn a_replica_near_the_limit_does_not_come_and_go() {
        let mut judge = Judge { most: Duration::from_secs(30), fresh: false };
        let changes = [
            (None, false),
            (seconds(16), false),
            (seconds(15), true),
            (seconds(30), false),
            (seconds(31), true),
            (seconds(29), false),
            (seconds(16), false),
            (seconds(31), false),
            (seconds(2), true),
            (None, true),
        ];
        for (turn, (staleness, changed)) in changes.into_iter().enumerate() {
            assert_eq!(judge.judge(staleness), changed, "turn {turn}: {staleness:?}");
        }
        assert!(!judge.fresh, "what is not known is not fresh");
    }

    #[test]
    fn a_limit_that_a_replica_at_rest_would_cross_is_refused() {
        assert_eq!("off".parse(), Ok(HealthyStaleness::Off));
        assert_eq!("3s".parse(), Ok(HealthyStaleness::AtMost(Duration::from_secs(3))));
        for refused in ["2s", "0s", "30", "Off", ""] {
            assert!(refused.parse::<HealthyStaleness>().is_err(), "{refused:?}");
        }
    }
}
