//! Are both databases equal? `cargo xtask verify` asks `tandem_convergence` about the running pair.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tandem_convergence::{Bar, CheckError, Flags, Options, Output, Report, check_observed};

use crate::postgres::ReplicaNumber;
use crate::running::ReplicaState;
use crate::{RunState, terminal};

/// The databases differ.
const DIFFERENT: u8 = 1;
/// What to do when both databases differ.
pub const AFTER_A_DIFFERENCE: &str = "look with `cargo xtask psql primary` and `cargo xtask psql replica`, mend it with \
    `cargo xtask verify --repair`, start afresh with `cargo xtask reset` and `cargo xtask up`";
/// Nothing can be said.
const COULD_NOT_CHECK: u8 = 2;
/// Proves that primary and replica hold the same rows, and names each row that differs.
///
/// Nobody has to pause: rows that are written while they are compared are looked at again. Each replica of the running pair
/// is compared, one after the other. Exit codes: 0 equal, 1 a replica differs, 2 could not check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compare this replica alone, counted from 1 [default: each].
    #[arg(long, value_name = "N", conflicts_with = "primary_url",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(ReplicaNumber::MOST)))]
    pub replica: Option<u8>,

    /// The primary, as postgres://user:password@host:port/database [default: that of the running pair].
    #[arg(long, value_name = "URL", requires = "replica_url")]
    pub primary_url: Option<String>,

    /// The replica, in the same form [default: that of the running pair].
    #[arg(long, value_name = "URL", requires = "primary_url")]
    pub replica_url: Option<String>,

    /// As JSON, one replica's report stands as it is; of several, `{"equal": …, "replicas": […]}` has a report each, with
    /// the replica's name.
    #[command(flatten)]
    pub flags: Flags,
}

/// Runs the command and prints what it found.
///
/// # Errors
///
/// The result can't be printed. That nothing could be checked is no error but exit code 2.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    match pairs(args) {
        Ok(pairs) => {
            let several = pairs.len() > 1;
            for Compared { primary_url, replica_url, number } in pairs {
                let options = Options { subscription: number.subscription(), ..args.flags.options() };
                let bar = Bar::draw();
                let checked = tandem_convergence::verify(&primary_url, &replica_url, &options, &args.flags, |phase| {
                    bar.show(phase)
                })
                .await;
                drop(bar);
                let report = checked.map_err(|error| error.with_causes());
                if args.flags.output == Output::Text {
                    tell(&report, several.then_some(number));
                }
                found.push((number, report));
            }
        }
        Err(error) => {
            let why = format!("{error:#}");
            if args.flags.output == Output::Text {
                tell(&Err(why.clone()), None);
            }
            found.push((ReplicaNumber::FIRST, Err(why)));
        }
    }
    if args.flags.output == Output::Json {
        println!("{}", as_json(&found)?);
        // Where it went wrong is told to people, too.
        for (_, report) in &found {
            report.as_ref().err().into_iter().for_each(|why| eprintln!("could not check: {why}"));
        }
    }
    let equal = equal(&found);
    // Databases of somebody's own are his to look at.
    if equal == Some(false) && args.primary_url.is_none() {
        terminal::note(AFTER_A_DIFFERENCE);
    }
    Ok(match equal {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(DIFFERENT),
        None => ExitCode::from(COULD_NOT_CHECK),
    })
}

/// What was found of each replica, or why nothing was.
type Found = (ReplicaNumber, Result<Report, String>);

/// Two databases that are to be compared.
struct Compared {
    primary_url: String,
    replica_url: String,
    number: ReplicaNumber,
}

/// Those that are named, else those of the running pair.
fn pairs(args: &Args) -> anyhow::Result<Vec<Compared>> {
    if let (Some(primary_url), Some(replica_url)) = (args.primary_url.clone(), args.replica_url.clone()) {
        return Ok(vec![Compared { primary_url, replica_url, number: ReplicaNumber::FIRST }]);
    }
    let state = RunState::load()?;
    let replicas = match args.replica {
        Some(number) => vec![state.replica_of(ReplicaNumber::new(number)?)?],
        None => state.replicas(),
    };
    let of_running = |replica: ReplicaState| Compared {
        primary_url: state.primary.admin_url.clone(),
        replica_url: replica.server.admin_url,
        number: replica.number,
    };
    Ok(replicas.into_iter().map(of_running).collect())
}

/// One difference decides; else all must have been compared.
fn equal(found: &[Found]) -> Option<bool> {
    let verdict = |(_, report): &Found| report.as_ref().ok().map(|report| report.equal);
    let verdicts: Vec<_> = found.iter().map(verdict).collect();
    if verdicts.contains(&Some(false)) { Some(false) } else { verdicts.iter().all(Option::is_some).then_some(true) }
}

fn tell(report: &Result<Report, String>, of: Option<ReplicaNumber>) {
    let name = of.map(ReplicaNumber::name);
    match (report, name) {
        (Ok(report), Some(name)) => println!("{name}\n{report}"),
        (Ok(report), None) => println!("{report}"),
        (Err(why), Some(name)) => eprintln!("could not check {name}: {why}"),
        (Err(why), None) => eprintln!("could not check: {why}"),
    }
}

/// As programs read it: one replica's report as it is; several with their names, and the verdict on all of them.
fn as_json(found: &[Found]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Outcome<'a> {
        Compared(&'a Report),
        Unknown { equal: Option<bool>, error: &'a str },
    }
    #[derive(Serialize)]
    struct OfReplica<'a> {
        replica: String,
        #[serde(flatten)]
        outcome: Outcome<'a>,
    }
    #[derive(Serialize)]
    struct OfAll<'a> {
        equal: Option<bool>,
        replicas: Vec<OfReplica<'a>>,
    }

    let mut replicas: Vec<OfReplica> = found
        .iter()
        .map(|(number, report)| {
            let outcome = match report {
                Ok(report) => Outcome::Compared(report),
                Err(error) => Outcome::Unknown { equal: None, error },
            };
            OfReplica { replica: number.name(), outcome }
        })
        .collect();
    match replicas.pop() {
        Some(only) if replicas.is_empty() => serde_json::to_string(&only.outcome),
        last => {
            replicas.extend(last);
            serde_json::to_string(&OfAll { equal: equal(found), replicas })
        }
    }
}

/// Compares a primary and its replica of this number behind a progress bar, which is drawn on standard error where that is a
/// terminal.
///
/// # Errors
///
/// Nothing could be said; the databases being different is no error.
pub async fn check(
    primary_url: &str,
    replica_url: &str,
    number: ReplicaNumber,
    timeout: Duration,
) -> Result<Report, CheckError> {
    let options = Options { timeout, subscription: number.subscription(), ..Options::default() };
    let bar = Bar::draw();
    check_observed(primary_url, replica_url, &options, |phase| bar.show(phase)).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(number: u8, equal: Option<bool>) -> Found {
        let report = |equal| Report {
            equal,
            tables: Vec::new(),
            rollups: None,
            repair: None,
            fences: 1,
            leftovers: Vec::new(),
            waited_seconds: 0.0,
            seconds: 0.0,
        };
        (ReplicaNumber::new(number).unwrap(), equal.map(report).ok_or_else(|| "it is down".to_owned()))
    }

    #[test]
    fn all_are_equal_when_each_is_and_one_that_differs_decides() {
        assert_eq!(equal(&[found(1, Some(true)), found(2, Some(true))]), Some(true));
        assert_eq!(equal(&[found(1, None), found(2, Some(false))]), Some(false));
        assert_eq!(equal(&[found(1, Some(true)), found(2, None)]), None);
    }

    #[test]
    fn one_report_is_printed_as_it_is_and_several_with_their_names() {
        let printed = |found: &[Found]| serde_json::from_str::<Value>(&as_json(found).unwrap()).unwrap();
        assert_eq!(printed(&[found(1, Some(true))])["fences"], 1);
        assert_eq!(printed(&[found(1, None)]), json!({"equal": null, "error": "it is down"}));
        let several = printed(&[found(1, Some(true)), found(2, None)]);
        assert_eq!((&several["equal"], &several["replicas"][0]["equal"]), (&Value::Null, &json!(true)));
        assert_eq!(several["replicas"][1], json!({"replica": "replica-2", "equal": null, "error": "it is down"}));
    }
}
