//! The peer: pgbench, writing the same four rows in one prepared statement a sale.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::bed::Bed;
use super::latencies::Latencies;
use super::load::{CASHIERS, CUSTOMERS, LINES, MOST_PIECES, PAYMENT_METHOD, STORES, Tally};
use super::usage::Usage;
use crate::postgres::{DATABASE, Installation, Login};

/// Where packages put the programs of their versions.
const PACKAGES: &str = "/usr/lib/postgresql";

/// Beyond its time, pgbench opens its connections and ends.
const GRACE: Duration = Duration::from_secs(30);

/// How often its use of the processor is looked at: what it uses after the last look is not seen.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How pgbench is run.
#[derive(Debug, Clone)]
pub struct Pgbench {
    program: PathBuf,
    script: PathBuf,
    password_file: PathBuf,
    directory: PathBuf,
    port: u16,
    login: Login,
}

impl Pgbench {
    /// Finds it and writes its script.
    ///
    /// # Errors
    ///
    /// It is not on this machine.
    pub fn prepare(bed: &Bed) -> anyhow::Result<Pgbench> {
        Pgbench::with_script(bed, Login::Command, &script())
    }

    /// The same with another script, on the side that knows the role.
    ///
    /// # Errors
    ///
    /// It is not on this machine.
    pub fn with_script(bed: &Bed, login: Login, text: &str) -> anyhow::Result<Pgbench> {
        let role = login.role();
        let directory = bed.directory.clone();
        let port = if login == Login::Query { bed.pair.replica().port() } else { bed.pair.primary().port() };
        let [script, password_file] = ["pgbench", "pgpass"].map(|end| directory.join(format!("{role}.{end}")));
        fs::write(&script, text)?;
        let line = format!("127.0.0.1:{port}:{DATABASE}:{role}:{}\n", bed.pair.passwords().expose(login));
        crate::places::write_atomically(&password_file, line.as_bytes(), 0o600)?;
        let program = program_beside(bed.pair.primary().installation(), "pgbench")?;
        Ok(Pgbench { program, script, password_file, directory, port, login })
    }

    /// What it says of its version.
    pub fn version(&self) -> Option<String> {
        super::machine::said(self.program.to_str()?, &["--version"])
    }

    /// Runs it to its end. Dropping the future ends it.
    ///
    /// # Errors
    ///
    /// It can't be run, fails, or does not end.
    pub async fn run(&self, clients: u32, threads: u32, seconds: u32) -> anyhow::Result<Ended> {
        let logs = self.directory.join("pgbench_log");
        let mut command = self.command();
        command.args(["-M", "prepared", "-n", "-l", "-f"]).arg(&self.script);
        command.arg("--log-prefix").arg(logs.join("sale"));
        command.args(["-c", &clients.to_string(), "-j", &threads.to_string(), "-T", &seconds.to_string()]);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", self.login.role(), DATABASE]);
        crate::places::remove_if_there(&logs)?;
        fs::create_dir(&logs)?;
        let mut child = command.spawn().with_context(|| format!("{} can't be run", self.program.display()))?;
        let usage = watch(&mut child, Duration::from_secs(u64::from(seconds)) + GRACE).await?;
        let output = child.wait_with_output().await?;
        ensure!(output.status.success(), "pgbench failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(Ended { said: String::from_utf8_lossy(&output.stdout).into_owned(), logs, usage })
    }

    fn command(&self) -> Command {
        measured(&self.program, &self.password_file, &self.directory)
    }
}

/// A run that has ended; reading what it left takes time that the replica must not get for catching up.
#[derive(Debug)]
pub struct Ended {
    said: String,
    logs: PathBuf,
    usage: Option<Usage>,
}

impl Ended {
    /// Reads what it left.
    ///
    /// # Errors
    ///
    /// It is not understood, or contradicts itself.
    pub fn tally(&self) -> anyhow::Result<Tally> {
        let summary = parse_summary(&self.said);
        let mut tally = summary.with_context(|| format!("pgbench's words are not understood:\n{}", self.said))?;
        tally.latencies = read_logs(&self.logs)?;
        let logged = tally.latencies.calls();
        ensure!(logged == tally.acknowledged, "pgbench counts {} sales and logs {logged}", tally.acknowledged);
        tally.usage = self.usage;
        Ok(tally)
    }
}

/// A program of PostgreSQL: the server's neighbour, else the one on the `PATH`, else the newest package's.
///
/// # Errors
///
/// It is in none of these places.
pub fn program_beside(installation: &Installation, name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|directory| directory.join(name));
    let found = std::iter::once(installation.bin_dir.join(name)).chain(on_path).find(|program| program.is_file());
    found.or_else(|| packaged(name)).with_context(|| {
        format!(
            "{name} is not on this machine: install PostgreSQL's programs (Debian, Ubuntu: apt-get install postgresql)"
        )
    })
}

fn packaged(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(PACKAGES).ok()?.filter_map(Result::ok);
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let programs = versions.map(|entry| entry.path()).filter(|path| path.join("bin").join(name).is_file());
    programs.max_by_key(|path| number(path)).map(|path| path.join("bin").join(name))
}

/// A program that is measured, without the caller's `PG*` variables, which would redirect it.
pub(super) fn measured(program: &Path, password_file: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("PGPASSFILE", password_file).current_dir(directory);
    // Ctrl-C is for the one who measures, who ends this one.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits until it has ended but for its last words; what it had used when it was last seen.
pub(super) async fn watch(child: &mut Child, limit: Duration) -> anyhow::Result<Option<Usage>> {
    let deadline = Instant::now() + limit;
    let mut usage = None;
    // Its words are few and fit into the pipe, so that it never waits for us.
    while child.try_wait()?.is_none() {
        usage = child.id().and_then(Usage::of).or(usage);
        if Instant::now() >= deadline {
            bail!("a program that is measured does not end");
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(usage)
}

/// The script. Items read the header, which is therefore written first, also in the WAL. Ids grow with time as ours do.
pub fn script() -> String {
    let products = LINES.len();
    let mut text = String::new();
    let mut set = |name: &str, most: i32| text.push_str(&format!("\\set {name} random(1, {most})\n"));
    set("cashier", CASHIERS);
    set("store", STORES);
    set("customer", CUSTOMERS);
    (1..=products).for_each(|line| set(&format!("pieces{line}"), MOST_PIECES));
    let each = |of: &dyn Fn(usize) -> String, between: &str| (1..=products).map(of).collect::<Vec<_>>().join(between);
    let price = |line: usize| LINES[line - 1].unit_price();
    let total = each(&|line| format!(":pieces{line}::integer * {}", price(line)), " + ");
    let rows = each(
        &|line| {
            let product = LINES[line - 1];
            let (code, name, category) = (product.code, product.name, product.category);
            format!("('{code}', '{name}', '{category}', :pieces{line}::integer, {}::numeric)", price(line))
        },
        ",\n    ",
    );
    text + &format!(
        "with header as (
    insert into sales.sales_transaction (
        transaction_id, transaction_time, cashier_id, store_id, payment_method, total_amount, total_discount,
        customer_id, created_at, updated_at, version
    )
    values (
        {NEXT_ID}, now(), :cashier, :store, '{PAYMENT_METHOD}', {total}, 0, :customer, now(), now(), 1
    )
    returning transaction_id
)
insert into sales.sales_item (
    item_id, transaction_id, product_code, product_name, category, quantity, unit_price, discount, total_price
)
select
    {NEXT_ID}, header.transaction_id, line.product_code, line.product_name, line.category,
    line.quantity, line.unit_price, 0, line.quantity * line.unit_price
from header
cross join (
    values
    {rows}
) as line (product_code, product_name, category, quantity, unit_price);
"
    )
}

/// A UUID whose first six bytes are the time in milliseconds, so that both sides fill their indexes in the same order.
/// Making it takes about a microsecond more than a random one, where a sale takes the primary some 200 of processor time.
const NEXT_ID: &str = "encode(overlay(uuid_send(gen_random_uuid()) placing \
     substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 'hex')::uuid";

/// Reads what pgbench prints at its end.
fn parse_summary(text: &str) -> Option<Tally> {
    let behind = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let number = |text: &str| text.split_whitespace().next()?.split('/').next()?.parse::<f64>().ok();
    let acknowledged = number(behind("number of transactions actually processed:")?)?;
    let failed = number(behind("number of failed transactions:")?)?;
    let rate = number(behind("tps =")?)?;
    let mut tally = Tally { acknowledged: acknowledged as u64, ..Tally::default() };
    if failed > 0.0 {
        tally.faults.insert("a failed transaction of pgbench".to_owned(), failed as u64);
    }
    tally.seconds = if rate > 0.0 { acknowledged / rate } else { 0.0 };
    Some(tally)
}

/// Reads the latency of each sale: `client number microseconds script seconds microseconds` a line.
fn read_logs(directory: &Path) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        for line in fs::read_to_string(&path)?.lines() {
            let took = line.split(' ').nth(2).and_then(|took| took.parse().ok());
            latencies.record_many(took.with_context(|| format!("no line of pgbench's log: {line}"))?, 1);
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one_statement_that_writes_the_header_before_three_items() {
        let script = script();
        assert_eq!(script.matches(';').count(), 1, "{script}");
        assert!(script.find("into sales.sales_transaction").unwrap() < script.find("into sales.sales_item").unwrap());
        assert!(script.contains("from header\n"), "items that do not read the header come first: {script}");
        for product in LINES {
            assert!(script.contains(&format!("('{}', '{}', ", product.code, product.name)), "{script}");
        }
        let variables = ["cashier", "store", "customer", "pieces1", "pieces2", "pieces3"];
        for variable in variables {
            assert!(
                script.contains(&format!("\\set {variable} random(1, ")) && script.contains(&format!(":{variable}"))
            );
        }
    }

    #[test]
    fn the_summary_of_pgbench_is_understood() {
        let text = "transaction type: x\nnumber of clients: 2\nnumber of transactions actually processed: 3000\n\
                    number of failed transactions: 0 (0.000%)\nlatency average = 1.3 ms\n\
                    tps = 1500.000000 (without initial connection time)\n";
        let tally = parse_summary(text).unwrap();
        assert_eq!((tally.acknowledged, tally.seconds, tally.faults.len()), (3000, 2.0, 0));
        let failed = parse_summary(&text.replace("transactions: 0 ", "transactions: 2 ")).unwrap();
        assert_eq!(failed.faults.values().sum::<u64>(), 2);
        assert!(parse_summary("nothing").is_none());
    }

    #[test]
    fn every_sale_in_the_logs_of_all_threads_counts() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sale.1"), "0 1 1000 0 1 1\n1 1 3000 0 1 1\n").unwrap();
        fs::write(directory.path().join("sale.1.1"), "2 1 2000 0 1 1\n").unwrap();
        let latencies = read_logs(directory.path()).unwrap();
        assert_eq!(latencies.calls(), 3);
        assert!((1.99..2.01).contains(&latencies.milliseconds_at(0.5).unwrap()));
    }
}
