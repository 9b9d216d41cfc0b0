//! A progress bar for people who look on.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::phase::Phase;

/// Fast enough to look alive, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(120);

/// Shows what a check is at, on standard error where that is a terminal, until it is dropped.
pub struct Bar {
    drawn: ProgressBar,
    of_unknown: ProgressStyle,
    of_known: ProgressStyle,
}

impl Bar {
    /// Begins to draw.
    #[must_use]
    pub fn draw() -> Self {
        let style = |template| ProgressStyle::with_template(template).expect("the template is one of ours");
        let drawn = if stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        drawn.enable_steady_tick(TICK);
        let of_known = style("{spinner} {msg} [{bar:30}] {percent}%").progress_chars("=> ");
        Self { drawn, of_unknown: style("{spinner} {msg}"), of_known }
    }

    /// Shows the phase.
    pub fn show(&self, phase: &Phase) {
        match phase.progress() {
            Some((done, of)) => {
                self.drawn.set_style(self.of_known.clone());
                self.drawn.set_length(of);
                self.drawn.set_position(done);
            }
            None => self.drawn.set_style(self.of_unknown.clone()),
        }
        self.drawn.set_message(phase.to_string());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.finish_and_clear();
    }
}
