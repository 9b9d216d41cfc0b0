//! What the one line of each call says, and what it keeps from the caller.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use crate::echo::{PATIENCE, SAY, ask, call, reason, settings, start};
use tonic::Code;

thread_local! {
    /// Each test has a thread of its own, on which its server and its client run as well.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes every line go to the buffer of the thread that wrote it. One subscriber for the whole
/// process: those that come and go with a test race for tracing's cache of who listens.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt().json().with_writer(|| Lines).init();
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
}

#[tokio::test]
async fn a_handler_can_record_the_request_id_that_its_message_carries() {
    let lines = Lines;
    let server = start(settings()).await;
    let channel = server.channel().await;
    call(&channel, SAY, ask("record")).await.unwrap();
    assert!(lines.finished().await.contains("of-the-handler"));
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
