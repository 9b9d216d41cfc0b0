//! `cargo xtask bench` as a developer calls it, only shorter: its answers are counted, its report has the documented
//! shape, and a wrong answer voids it.

// A panic is how a test fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::process::Command;
use xtask::{cargo, places::workspace_root, service::BINARIES_VARIABLE};

/// The program: that of `cargo xtask test` where it runs us, which is as new as we are; else cargo builds it.
fn bench_of(what: &str) -> Command {
    if let Some(directory) = env::var_os(BINARIES_VARIABLE).map(PathBuf::from)
        && directory.join("xtask").is_file()
    {
        let mut command = Command::new(directory.join("xtask"));
        command.args(["bench", what, "--bin-dir"]).arg(directory);
        return command;
    }
    let mut command = Command::from(cargo::command());
    command.args(["run", "--quiet", "--package", "xtask", "--bin", "xtask", "--", "bench", what, "--profile", "dev"]);
    command
}

/// A row as documented.
const SHAPE: [&str; 7] = ["detail", "high", "holds", "id", "low", "ratio", "target"];

/// Runs one round of one second with few callers; exit code and standard output.
async fn bench(rows: &str, svg: &Path, further: &[&str]) -> (Option<i32>, Value) {
    let mut command = bench_of("write");
    command.args(["--rounds", "1", "--seconds", "1", "--callers", "2,4,16", "--clients", "3"]);
    command.args(["--import-sales", "500", "--rows", rows]).args(further);
    told(command, svg).await
}

async fn told(mut command: Command, svg: &Path) -> (Option<i32>, Value) {
    command.args(["--output", "json", "--svg"]).arg(svg);
    let output = command.current_dir(workspace_root()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}:\n{said}"));
    (output.status.code(), json)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// A run ends with 0 only where every count and the proof that both databases are equal agreed.
#[tokio::test]
async fn a_run_counts_its_answers_and_reports_each_row_in_the_documented_shape() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("rates.svg");
    let (code, report) = bench("W1,W4,W5", &svg, &[]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(keys(&report), ["machine", "rows"]);
    for known in ["cores", "commit", "fdatasyncs_per_second", "settings", "versions"] {
        assert!(!report["machine"][known].is_null(), "{known} is missing in {}", report["machine"]);
    }
    let rows = report["rows"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["W1", "W4", "W5"]);
    let imported = &rows[2]["detail"];
    assert_eq!((&imported["ours"]["sales"], &imported["peer"]["sales"]), (&500.into(), &500.into()));
    assert!(imported["ours"]["rows_per_second"].as_f64().unwrap() > 0.0, "{imported}");
    assert!(imported["ours"]["peak_memory_bytes"]["service"].as_u64().unwrap() > 0, "{imported}");
    assert_eq!(keys(&rows[2]), SHAPE);
    for row in &rows[..2] {
        assert_eq!(keys(row), SHAPE);
        assert_eq!(row["holds"], row["ratio"].as_f64() >= row["target"].as_f64());
        for side in ["ours", "peer"] {
            let side = &row["detail"][side];
            assert!(
                side["sales"].as_u64().unwrap() > 0 && side["p50_ms"].as_f64() <= side["p99_ms"].as_f64(),
                "{side}"
            );
            assert!(side["cpu_seconds_per_1000"]["primary"].as_f64().unwrap() > 0.0, "{side}");
        }
    }
    let of_the_service = rows[0]["detail"]["ours"]["cpu_seconds_per_1000"]["service"].as_f64();
    assert!(of_the_service.unwrap() > 0.0);
    let shares: Vec<&Value> =
        rows[0]["detail"]["open_loop"].as_array().unwrap().iter().map(|open| &open["share"]).collect();
    assert_eq!(shares, [0.5, 0.8]);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

/// A service with another currency refuses every sale: fast, and no answer.
#[tokio::test]
async fn a_run_with_wrong_answers_is_void_and_shows_no_figures() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("rates.svg");
    let (code, report) = bench("W3", &svg, &["--service-env", "TANDEM_CURRENCY=EUR"]).await;
    assert_eq!(code, Some(2), "{report}");
    assert_eq!(keys(&report), ["void"]);
    assert!(report["void"].as_str().unwrap().contains("InvalidArgument"), "{report}");
    assert!(!svg.exists());
}

#[tokio::test]
async fn a_seeded_pair_is_counted_and_compared_and_reported_in_the_documented_shape() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("seconds.svg");
    let mut command = bench_of("seed");
    command.args(["--sales", "2000", "--rounds", "1"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(keys(&report), ["machine", "rows"]);
    let [row] = report["rows"].as_array().unwrap().as_slice() else { panic!("one row is expected: {report}") };
    assert_eq!((keys(row).as_slice(), &row["id"]), (SHAPE.as_slice(), &"S1".into()));
    for side in ["ours", "peer"] {
        assert_eq!(row["detail"][side]["sales"], 2_000, "{row}");
    }
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

/// Rows by their names, once their shape is the documented one.
fn rows_of(report: &Value) -> BTreeMap<&str, &Value> {
    assert_eq!(keys(report), ["machine", "rows"], "{report}");
    for known in ["cores", "commit", "fdatasyncs_per_second", "settings", "versions"] {
        assert!(!report["machine"][known].is_null(), "{known} is missing in {}", report["machine"]);
    }
    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        assert_eq!(keys(row), SHAPE);
        let (ratio, target) = (row["ratio"].as_f64().unwrap(), row["target"].as_f64().unwrap());
        let at_least = row["detail"]["aim"] == "at_least";
        // R2 is also about the time to drain.
        let holds = if at_least { ratio >= target } else { ratio <= target };
        assert!(row["holds"] == holds || row["id"] == "R2", "{row}");
        assert!(row["low"].as_f64().unwrap() <= ratio && ratio <= row["high"].as_f64().unwrap(), "{row}");
        assert!(row["detail"]["ours"]["median"].as_f64().unwrap() > 0.0, "{row}");
    }
    rows.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect()
}

/// It ends with 0 only where the service, SQL on the base tables and DuckDB gave the same figures.
#[tokio::test]
async fn questions_are_compared_with_their_peers_answers_and_reported_in_the_documented_shape() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("milliseconds.svg");
    let mut command = bench_of("read");
    command.args(["--sales", "10000", "--rounds", "1", "--seconds", "1", "--callers", "4", "--commits", "3"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!(code, Some(0), "{report}");
    let mut rows = rows_of(&report);
    // Left out on a machine without a Python that can install DuckDB.
    if let Some(row) = rows.remove("Q3") {
        assert!(row["detail"]["peer"]["parts"]["top_products"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ["L1", "Q1", "Q2", "Q4", "Q5"]);
    for side in ["ours", "peer"] {
        let parts = &rows["Q1"]["detail"][side]["parts"];
        assert_eq!(keys(parts), ["by_store", "daily_series", "summary", "top_products"]);
    }
    let seconds = &rows["Q1"]["detail"]["ours"]["cpu_seconds_per_1000"];
    assert!(seconds["service"].as_f64().unwrap() > 0.0, "{seconds}");
    assert_eq!(rows["Q2"]["detail"]["further"]["sales_not_in_rollups"], 1_000);
    assert!(rows["Q5"]["detail"]["peer"]["parts"]["p99_ms"].as_f64().unwrap() > 0.0, "{}", rows["Q5"]);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

/// A service with another currency tells other amounts than the tables hold.
#[tokio::test]
async fn figures_that_are_not_those_of_the_base_tables_void_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("milliseconds.svg");
    let mut command = bench_of("read");
    command.args(["--sales", "10000", "--rows", "Q1", "--service-env", "TANDEM_CURRENCY=EUR"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!((code, keys(&report)), (Some(2), vec!["void"]), "{report}");
    assert!(!svg.exists());
}

#[tokio::test]
async fn a_backlog_and_the_lag_are_measured_and_reported_in_the_documented_shape() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("backlog.svg");
    let mut command = bench_of("replication");
    command.args(["--sales", "1000", "--rounds", "1", "--seconds", "1", "--callers", "8"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!(code, Some(0), "{report}");
    let rows = rows_of(&report);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ["R1", "R2"]);
    assert!(rows["R1"]["detail"]["peer"]["median"].as_f64().unwrap() > 0.0, "{}", rows["R1"]);
    assert!(rows["R2"]["detail"]["further"]["samples"].as_u64().unwrap() > 0, "{}", rows["R2"]);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

#[tokio::test]
async fn a_verifier_finds_what_was_spoilt_before_it_is_measured_and_is_reported_in_the_documented_shape() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("milliseconds.svg");
    let mut command = bench_of("verify");
    command.args(["--sales", "2000", "--rounds", "1", "--seconds", "1", "--callers", "8"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!(code, Some(0), "{report}");
    let rows = rows_of(&report);
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), ["V1", "V2", "V3"]);
    assert!(rows["V1"]["detail"]["further"]["rows"].as_u64().unwrap() >= 8_000, "{}", rows["V1"]);
    assert!(rows["V3"]["detail"]["further"]["checks"].as_u64().unwrap() > 0, "{}", rows["V3"]);
    assert!(fs::read_to_string(svg).unwrap().starts_with("<svg"));
}

#[tokio::test]
async fn a_load_that_is_refused_voids_the_lag() {
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("backlog.svg");
    let mut command = bench_of("replication");
    command.args(["--rows", "R2", "--seconds", "1", "--callers", "8", "--service-env", "TANDEM_CURRENCY=EUR"]);
    let (code, report) = told(command, &svg).await;
    assert_eq!((code, keys(&report)), (Some(2), vec!["void"]), "{report}");
    assert!(!svg.exists());
}
