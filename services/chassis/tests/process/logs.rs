//! What the one line of each call says, and what it keeps from the caller.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use crate::echo::{PATIENCE, SAY, ask, call, reason, settings, start};
use serde_json::Value;
use tandem_chassis::settings::LogFormat;
use tandem_chassis::telemetry::lines;
use tonic::Code;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

thread_local! {
    /// Each test has a thread of its own, on which its server and its client run as well.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The same lines as a terminal shows them.
    static SHOWN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes every line go to the buffer of the thread that wrote it. One subscriber for the whole
/// process: those that come and go with a test race for tracing's cache of who listens.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::registry()
            .with(lines(LogFormat::Json, false, || Lines).with_filter(LevelFilter::INFO))
            .with(lines(LogFormat::Text, false, || Text).with_filter(LevelFilter::INFO))
            .init();
    });
}

/// The lines of this test.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of this test as text.
struct Text;

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SHOWN.with_borrow_mut(|shown| shown.write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line of the finished call as text; it is there when the JSON line is, or right after.
async fn finished_as_text() -> String {
    let seen = async {
        loop {
            let text = SHOWN.with_borrow(|bytes| String::from_utf8_lossy(bytes).into_owned());
            if let Some(line) = text.lines().find(|line| line.contains("call finished")) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("the call's line comes")
}

impl Lines {
    fn containing(&self, words: &str) -> Vec<String> {
        let bytes = WRITTEN.with_borrow(Vec::clone);
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    async fn finished(&self) -> String {
        let seen = async {
            loop {
                let mut lines = self.containing("call finished");
                if let Some(line) = lines.pop() {
                    assert!(lines.is_empty(), "one line a call: {lines:?}");
                    return line;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the call's line comes")
    }
}

#[tokio::test]
async fn the_private_cause_is_in_the_log_once_and_never_sent() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    let status = call(&channel, SAY, ask("private")).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Internal, "VAULT".to_owned()));
    assert!(!format!("{status:?}").contains("vault is open"), "{status:?}");
    let line = lines.finished().await;
    for words in ["WARN", "INTERNAL", "the vault is open", "duration_ms", "\"Say\""] {
        assert!(line.contains(words), "{words} in {line}");
    }
    assert_eq!(lines.containing("vault is open").len(), 1);
}

#[tokio::test]
async fn the_line_carries_the_callers_trace_and_request_id() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut request = ask("hello");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap());
    metadata.insert("x-request-id", "till-7".parse().unwrap());
    call(&channel, SAY, request).await.unwrap();
    let line = lines.finished().await;
    for words in [trace, "till-7", "INFO", "\"OK\""] {
        assert!(line.contains(words), "{words} in {line}");
    }
    assert!(!line.contains("command_id"), "nobody has named a command: {line}");
    assert!(!finished_as_text().await.contains("command_id"));
}

#[tokio::test]
async fn a_command_id_that_a_handler_records_stands_beside_the_callers_request_id() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    let mut request = ask("record");
    request.metadata_mut().insert("x-request-id", "till-7".parse().unwrap());
    call(&channel, SAY, request).await.unwrap();
    let json = lines.finished().await;
    let line: Value = serde_json::from_str(&json).expect("a line is one JSON object");
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"call finished".into()), "{json}");
    let span = &line["spans"][0];
    assert_eq!((&span["request_id"], &span["command_id"]), (&"till-7".into(), &"of-the-handler".into()), "{json}");
    let text = finished_as_text().await;
    for field in ["request_id=\"till-7\"", "command_id=\"of-the-handler\""] {
        assert!(text.contains(field), "{field} in {text}");
    }
    let inside = lines.containing("inside the handler");
    assert!(inside[0].contains("\"trace_id\":\""), "{inside:?}");
}

#[tokio::test]
async fn a_panic_is_logged_with_its_words() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    call(&channel, SAY, ask("panic")).await.unwrap_err();
    let line = lines.finished().await;
    assert!(line.contains("WARN") && line.contains("the till is on fire"), "{line}");
}

#[tokio::test]
async fn a_caller_that_leaves_is_logged_as_cancelled() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    let waiting = tokio::spawn(async move { call(&channel, SAY, ask("wait")).await });
    server.gate.entered(1).await;
    waiting.abort();
    let line = lines.finished().await;
    assert!(line.contains("INFO") && line.contains("CANCELLED"), "{line}");
}
