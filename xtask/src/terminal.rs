//! What the commands say. Progress and errors go to standard error; results go to standard output, so that
//! they can be piped. Colours only on a terminal.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use indicatif::HumanCount;

use crate::log_excerpt::Logged;

/// Writes a line to standard output. A reader that has gone away (`| head`) must not end whoever writes: `up`
/// still has a pair to stop.
pub fn result(line: impl Display) {
    write_line(&mut io::stdout().lock(), line);
}

/// Writes a line to standard error, in the same spirit.
pub fn progress(line: impl Display) {
    write_line(&mut io::stderr().lock(), line);
}

fn write_line(stream: &mut impl Write, line: impl Display) {
    // There is nobody left to tell that nobody listens.
    let _unheard = writeln!(stream, "{line}");
}

/// Says that a step is done: `✓ primary 15.18 on 5676 (0.8 s)`. `since` is when it began.
pub fn done(what: &str, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    progress(format_args!("{} {what} {}", paint("32", "✓"), paint("2", &format!("({seconds:.1} s)"))));
}

/// Says a result that is no step of its own: `✓ 10,000 sales …`.
pub fn success(what: &str) {
    progress(format_args!("{} {what}", paint("32", "✓")));
}

/// Takes away what a child that was ended has drawn on the terminal's last line.
pub fn clear_line() {
    if io::stderr().is_terminal() {
        // Nobody misses a line that can't be cleared.
        let _unheard = write!(io::stderr(), "\r\x1b[K");
    }
}

/// A number as people read it: `1,234,567`.
pub fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// So many things: `1 row`, `1,234 rows`. The plural is formed with an s.
pub fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// Says something worth knowing that is neither a finished step nor a failure.
pub fn note(what: &str) {
    progress(format_args!("{} {what}", paint("36", "•")));
}

/// Says what failed and why, each cause on a line of its own. A log goes before, so that the reason is what a
/// reader sees last.
pub fn failure(error: &anyhow::Error) {
    if let Some(logged) = error.downcast_ref::<Logged>() {
        progress(&logged.excerpt);
        progress(format_args!("{} {error}", paint("31", "✗")));
        return;
    }
    let mut said = error.to_string();
    progress(format_args!("{} {said}", paint("31", "✗")));
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Some errors print their source as part of themselves; saying it twice helps nobody.
        if !said.contains(&text) {
            progress(format_args!("  because: {text}"));
        }
        said = text;
    }
}

/// Dims text on a terminal, for what stands beside the matter.
pub fn dim(text: &str) -> String {
    paint("2", text)
}

fn paint(code: &str, text: &str) -> String {
    // NO_COLOR is the convention of no-color.org: set and not empty means no colours.
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !refused { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_one_thing_is_no_plural() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!(counted(1_234_567, "row"), "1,234,567 rows");
    }
}
