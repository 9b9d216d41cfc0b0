//! The README's quick start, command by command, as a newcomer would type it.
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tandem_tests::machine::{Machine, workspace};

/// Building, starting, 10,000 sales and the proof, on a machine that does other things too.
const UP_LIMIT: Duration = Duration::from_secs(300);
/// After `down`, `up` has nothing left to do but to end.
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// A command of the README and what it says is printed.
struct Step {
    command: String,
    output: Vec<String>,
}

#[test]
fn the_quick_start_of_the_readme_works_as_it_is_written() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let machine = Machine::new().unwrap();
    let steps = steps(section(&readme, "## Quick start"));
    assert!(steps.len() >= 7, "the quick start has lost its commands");
    let mut up = None;
    for step in steps {
        println!("$ {}", step.command);
        if step.command == "cargo xtask up" {
            let mut running = Up::start(&machine, &step.command);
            let printed = running.wait_until_it_says("stop ");
            assert_printed(&step, &printed);
            up = Some(running);
            continue;
        }
        let output = machine.run(&step.command).unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{} ended with {}\n{printed}\n{}",
            step.command,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        // What is said while working goes to stderr; a reader's terminal shows both.
        assert_printed(&step, &format!("{printed}{}", String::from_utf8_lossy(&output.stderr)));
    }
    up.expect("the quick start begins with `cargo xtask up`").wait_for_end();
    assert_eq!(machine.run("cargo xtask status").unwrap().status.code(), Some(3), "nothing runs any more");
    assert!(!machine.anything_runs().unwrap(), "no process is left behind");
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect("the README has the section");
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The commands of the `console` blocks: behind `$ `, as many lines as the shell needs, then what is printed.
fn steps(text: &str) -> Vec<Step> {
    let blocks = text.split("```console\n").skip(1).map(|block| block.split_once("\n```").expect("a block ends").0);
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks {
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: Vec::new() });
                continue;
            }
            let step = steps.last_mut().expect("a block begins with a command");
            if step.output.is_empty() && !is_complete(&step.command) {
                step.command = format!("{}\n{line}", step.command);
            } else {
                step.output.push(line.to_owned());
            }
        }
    }
    steps
}

/// Whether the shell would run the command, or wait for more of it.
fn is_complete(command: &str) -> bool {
    Command::new("bash").args(["-n", "-c", command]).stderr(Stdio::null()).status().unwrap().success()
}

/// Numbers differ from run to run, and columns with them: the rest must be printed as the README shows it.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let mut in_number = false;
        for c in word.chars() {
            let goes_on = in_number && (c.is_ascii_hexdigit() || ".,:/-TZ".contains(c));
            if c.is_ascii_digit() || goes_on {
                if !in_number {
                    shape.push('#');
                }
                in_number = true;
            } else {
                shape.push(c);
                in_number = false;
            }
        }
        shape.push(' ');
    }
    shape.trim_end().to_owned()
}

fn assert_printed(step: &Step, printed: &str) {
    let shapes: Vec<_> = printed.lines().map(shape).collect();
    // Which PostgreSQL it is and where it lies is the machine's, not the README's.
    let ours = |line: &&String| !line.trim().is_empty() && !line.contains("PostgreSQL ");
    for line in step.output.iter().filter(ours) {
        assert!(shapes.contains(&shape(line)), "$ {}\ndid not print {line:?} but\n{printed}", step.command);
    }
}

/// `cargo xtask up` in its terminal.
struct Up<'a> {
    machine: &'a Machine,
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl<'a> Up<'a> {
    fn start(machine: &'a Machine, command: &str) -> Self {
        // Both streams in one pipe, in the order in which a terminal would show them.
        let mut shell = machine.shell(&format!("exec 2>&1; {command}"));
        let mut process = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let printed = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || printed.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { machine, process, lines }
    }

    fn wait_until_it_says(&mut self, words: &str) -> String {
        let until = Instant::now() + UP_LIMIT;
        let mut printed = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    printed = format!("{printed}{line}\n");
                    if line.trim_start().starts_with(words) {
                        return printed;
                    }
                }
                Err(error) => panic!("`up` did not say {words:?} ({error}); it printed\n{printed}"),
            }
        }
    }

    fn wait_for_end(mut self) {
        let until = Instant::now() + DOWN_LIMIT;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "`up` ended with {status}");
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("`up` did not end after `down`");
    }
}

impl Drop for Up<'_> {
    /// A test that fails half-way leaves nothing behind either.
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            let _best_effort = self.machine.run("cargo xtask down");
        }
    }
}

#[cfg(test)]
mod of_this_test {
    use super::{shape, steps};

    #[test]
    fn a_command_has_as_many_lines_as_the_shell_needs() {
        let text = "```console\n$ echo 'a\n  b' |\n    cat\na\n  b\n$ true\n```\n";
        let steps = steps(text);
        assert_eq!(steps.iter().map(|step| &*step.command).collect::<Vec<_>>(), ["echo 'a\n  b' |\n    cat", "true"]);
        assert_eq!(steps[0].output, ["a", "  b"]);
    }

    #[test]
    fn numbers_and_columns_may_differ_and_words_may_not() {
        assert_eq!(shape("✓ primary 15.18 on 5676  (0.8 s)"), shape("✓ primary 18.4 on 17001 (12.0 s)"));
        assert_ne!(shape("equal: 3 tables"), shape("different: 3 tables"));
    }
}
