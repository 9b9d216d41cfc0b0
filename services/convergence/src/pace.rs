//! Who reads makes room for those who write.

use std::time::Duration;

use tokio::time::Instant;

/// More log than this in a second, and somebody writes: the services' own heartbeats and folding alone make a tenth of it.
const WRITTEN_A_SECOND: f64 = 262_144.0;

/// So much log between two looks says nothing: a heartbeat behind a checkpoint, which takes whole pages along.
const SAYS_NOTHING: f64 = 32_768.0;

/// The pace of one reader.
#[derive(Debug)]
pub(crate) struct Pace {
    /// So many times as long as it has read.
    rest: f64,
    /// When the server was last looked at, and how much log it had written by then.
    last: Option<(Instant, u64)>,
}

impl Pace {
    pub(crate) fn new(rest: f64) -> Self {
        Self { rest, last: None }
    }

    /// How long to rest after a statement that ended now, took so long, and saw so many bytes of log.
    pub(crate) fn after(&mut self, now: Instant, took: Duration, log: u64) -> Duration {
        let Some((then, before)) = self.last.replace((now, log)) else { return Duration::ZERO };
        let written = log.saturating_sub(before) as f64;
        let is_written = written > SAYS_NOTHING.max(WRITTEN_A_SECOND * now.duration_since(then).as_secs_f64());
        if is_written { took.mul_f64(self.rest) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_rests_while_somebody_writes_and_at_no_other_time() {
        let (mut pace, took) = (Pace::new(1.5), Duration::from_millis(100));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.after(after(1), took, 1_000_000), Duration::ZERO, "nothing is known yet");
        assert_eq!(pace.after(after(2), took, 1_001_000), Duration::ZERO);
        assert_eq!(pace.after(after(3), took, 9_000_000), Duration::from_millis(150));
        assert_eq!(pace.after(after(4), took, 9_000_000), Duration::ZERO);
    }
}
