//! `cargo xtask batches`: what a script is told of batches, by words, JSON and exit codes.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};
use tandem_proto::sales::command::v1::ImportStart;
use tandem_tests::{
    Tandem,
    import::{ImportStream, new_import, rows},
    machine::Machine,
    program::Program,
};
use xtask::{
    postgres::free_port,
    process::{Pid, Signal, signal},
    service::Service,
};

/// Types a command that asks the shared pair.
async fn typed(machine: &Machine, command: &str) -> Child {
    let address = Tandem::shared().await.query_address();
    let mut shell = machine.shell(&format!("exec cargo xtask batches {command} --query-address {address}"));
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its exit code, its output, and what it says beside.
fn end(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn run(machine: &Machine, command: &str) -> (Option<i32>, String, String) {
    end(typed(machine, command).await)
}

async fn asked(machine: &Machine, command: &str) -> (Option<i32>, Value) {
    let (code, printed, said) = run(machine, &format!("{command} --output json")).await;
    (code, serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}\n{said}")))
}

async fn import(start: &ImportStart, row_count: i64) {
    let stream = ImportStream::start(&Tandem::shared().await.commands(), start).await.unwrap();
    stream.rows(1, rows(1, 1..=row_count)).await;
    stream.finish(row_count).await;
    stream.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_batch_is_told_by_exit_code_that_it_is_there_has_failed_or_does_not_come() {
    let machine = Machine::new().unwrap();
    let start = new_import();
    let id = &start.import_id;
    let waiting = typed(&machine, &format!("wait {id} --timeout 60 --output json")).await;
    import(&start, 40).await;
    let (code, printed, said) = end(waiting);
    assert_eq!(code, Some(0), "{said}");
    let waited: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&waited["outcome"], &waited["replica"]), (&json!("ready"), &json!("replica-1")));
    let batch = &waited["batch"];
    let is = (&batch["batch_id"], &batch["status"], &batch["health"], &batch["error"]);
    assert_eq!(is, (&json!(id), &json!("COMPLETED"), &json!("READY"), &Value::Null));
    let told =
        |batch: &Value| batch["tables"].as_array().unwrap().iter().map(|t| t["rows"].clone()).collect::<Vec<_>>();
    assert_eq!(told(batch), [80, 40]);
    assert!(batch["lsn"].is_string() && batch["consistency_token"].is_string() && batch["ended_at"].is_string());

    // The same batch by the other ways.
    assert_eq!(asked(&machine, &format!("get {id}")).await, (Some(0), batch.clone()));
    let (code, text, _) = run(&machine, &format!("get {id}")).await;
    assert_eq!(code, Some(0));
    assert!(text.contains(&format!("batch {id}: COMPLETED, READY")) && text.contains("80 rows"), "{text}");
    let (code, listed) = asked(&machine, "list --limit 100").await;
    assert_eq!(code, Some(0));
    assert!(listed["batches"].as_array().unwrap().contains(batch), "{listed}");

    let failed = ImportStart { all_or_nothing: true, ..new_import() };
    let stream = ImportStream::start(&Tandem::shared().await.commands(), &failed).await.unwrap();
    stream.stop_sending().await.unwrap_err();
    let (code, waited) = asked(&machine, &format!("wait {} --timeout 60", failed.import_id)).await;
    assert_eq!((code, &waited["outcome"]), (Some(1), &json!("failed")));
    assert!(waited["batch"]["error"].is_string(), "{waited}");

    let (code, waited) = asked(&machine, "wait never-begun --timeout 1").await;
    assert_eq!((code, &waited["outcome"], &waited["batch"]), (Some(2), &json!("timed_out"), &Value::Null));
    let (code, _, said) = run(&machine, "wait never-begun --timeout 1").await;
    assert_eq!(code, Some(2));
    assert!(said.contains("is not known to this replica after 1 s: wait again"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_end_where_they_are_told_to_and_what_can_t_be_answered_says_what_to_do() {
    let machine = Machine::new().unwrap();
    for _ in 0..3 {
        import(&new_import(), 1).await;
    }
    let newest = new_import();
    import(&newest, 1).await;
    let (_, waited) = asked(&machine, &format!("wait {}", newest.import_id)).await;
    assert_eq!(waited["outcome"], "ready");
    let (_, listed) = asked(&machine, "list --limit 3").await;
    assert_eq!((listed["batches"].as_array().unwrap().len(), &listed["more"]), (3, &json!(true)));
    assert_eq!(run(&machine, "list --limit 2").await.1.lines().count(), 3, "with its heading");

    let (code, refused) = asked(&machine, "get never-begun").await;
    assert!(code == Some(1) && refused["error"].is_string(), "{code:?} {refused}");
    let (code, _, said) = run(&machine, "wait 'no spaces'").await;
    assert!(code == Some(2) && said.contains("InvalidArgument"), "{code:?} {said}");
    let nobody = machine.run("cargo xtask batches list --query-address 127.0.0.1:1").unwrap();
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(said.contains("--query-address") && said.contains("cargo xtask up"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_service_that_is_started_anew_is_asked_again() {
    let machine = Machine::new().unwrap();
    let tandem = Tandem::shared().await;
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let listen = [("TANDEM_QUERY_LISTEN", address.as_str())];
    let service = Program::start(&tandem.pair, Service::Query, &listen).await.unwrap();
    let start = new_import();
    let command = format!("exec cargo xtask batches wait {} --query-address {address}", start.import_id);
    let mut waiting = machine.shell(&command).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut hears = |expected: &str| {
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it never says {expected}");
        }
    };
    hears("not heard of yet");
    service.kill().await.unwrap();
    hears("the query service is away; asking again");
    let _service = Program::start(&tandem.pair, Service::Query, &listen).await.unwrap();
    hears("not heard of yet");
    import(&start, 3).await;
    hears("COMPLETED, READY");
    assert_eq!(end(waiting).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_wait_and_says_so() {
    let machine = Machine::new().unwrap();
    let mut waiting = typed(&machine, "wait never-begun").await;
    let mut said = String::new();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    while !said.contains("not heard of yet") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    // The shell becomes cargo, and cargo what it runs.
    signal(Pid::from_child(&waiting), Signal::INT).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.contains("interrupted"), "{said}");
}
