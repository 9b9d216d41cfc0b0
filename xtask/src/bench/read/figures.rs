//! Q1 to Q4: questions about figures, asked of all sides in turn.

use std::collections::BTreeMap;
use std::time::Instant;

use super::super::answers::Void;
use super::super::comparison::{Aim, Comparison, Measured};
use super::super::statistics::{median, rounded};
use super::super::usage::cluster_cpu_seconds;
use super::duckdb::{Asked, DuckDb};
use super::questions::{ASKED_OF_OURS, Answer, Caller, Question};
use super::rounds::Shop;
use super::sql::BaseTables;

/// How often the base tables are asked in a round, of which the median counts.
const ASKED_OF_BASE_TABLES: u32 = 3;

/// One side's rounds: milliseconds of each question, in the order of the questions.
#[derive(Debug, Default)]
pub struct Side {
    rounds: Vec<Vec<f64>>,
    calls: u64,
    service_cpu_seconds: Option<f64>,
    database_cpu_seconds: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

impl Side {
    /// Milliseconds of all questions together, a round each.
    pub fn sums(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.iter().sum()).collect()
    }

    /// Asks the query service.
    pub async fn ask_service(&mut self, shop: &mut Shop, questions: &[Question]) -> anyhow::Result<()> {
        let mut caller = Caller::connect(shop.query.address, shop.sales.asked()).await?;
        for question in questions {
            caller.ask(*question).await?;
        }
        let before = (shop.query.usage(), cluster_cpu_seconds(shop.bed.pair.replica()));
        let mut round = Vec::new();
        for question in questions {
            let mut took = Vec::new();
            for _ in 0..ASKED_OF_OURS.get() {
                let since = Instant::now();
                caller.ask(*question).await?;
                took.push(since.elapsed().as_secs_f64() * 1_000.0);
            }
            self.calls += u64::from(ASKED_OF_OURS.get());
            round.extend(median(&took));
        }
        let after = (shop.query.usage(), cluster_cpu_seconds(shop.bed.pair.replica()));
        let used = before.0.zip(after.0).map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
        add(&mut self.service_cpu_seconds, used);
        add(&mut self.database_cpu_seconds, before.1.zip(after.1).map(|(before, after)| after - before));
        self.peak_memory_bytes = after.0.map(|usage| usage.peak_memory_bytes);
        self.rounds.push(round);
        Ok(())
    }

    /// Asks the base tables of the same replica.
    pub async fn ask_base_tables(
        &mut self,
        shop: &Shop,
        base_tables: &mut BaseTables,
        questions: &[Question],
    ) -> anyhow::Result<()> {
        let before = cluster_cpu_seconds(shop.bed.pair.replica());
        let mut round = Vec::new();
        for question in questions {
            let mut took = Vec::new();
            for _ in 0..ASKED_OF_BASE_TABLES {
                let since = Instant::now();
                base_tables.ask(*question).await?;
                took.push(since.elapsed().as_secs_f64() * 1_000.0);
            }
            self.calls += u64::from(ASKED_OF_BASE_TABLES);
            round.extend(median(&took));
        }
        let after = cluster_cpu_seconds(shop.bed.pair.replica());
        add(&mut self.database_cpu_seconds, before.zip(after).map(|(before, after)| after - before));
        self.rounds.push(round);
        Ok(())
    }

    /// Asks DuckDB.
    pub async fn ask_duckdb(&mut self, duckdb: &DuckDb, questions: &[Question]) -> anyhow::Result<Asked> {
        let asked = duckdb.ask().await?;
        self.rounds.push(questions.iter().map(|question| asked.milliseconds(*question)).collect());
        self.calls += asked.calls();
        add(&mut self.service_cpu_seconds, Some(asked.cpu_seconds));
        self.peak_memory_bytes = self.peak_memory_bytes.max(Some(asked.peak_memory_bytes));
        Ok(asked)
    }

    fn measured(&self, name: impl Into<String>, who: &'static str, questions: &[Question]) -> Measured {
        let mut measured = Measured::new(name, "ms", &self.sums())
            .cpu(who, self.service_cpu_seconds, self.calls)
            .cpu("replica", self.database_cpu_seconds, self.calls)
            .memory(who, self.peak_memory_bytes);
        let of = |number: usize| {
            median(&self.rounds.iter().filter_map(|round| round.get(number).copied()).collect::<Vec<_>>())
        };
        let parts = questions
            .iter()
            .enumerate()
            .filter_map(|(number, question)| Some((question.name(), rounded(of(number)?, 3))));
        measured.parts = parts.collect::<BTreeMap<_, _>>();
        measured
    }
}

fn add(sum: &mut Option<f64>, more: Option<f64>) {
    *sum = more.map(|more| sum.unwrap_or_default() + more);
}

/// What a row is made of.
pub struct Compared<'a> {
    /// Its name in the table.
    pub id: &'static str,
    /// Which way the target is meant.
    pub aim: Aim,
    /// The target.
    pub target: f64,
    /// The questions of a round.
    pub questions: &'a [Question],
}

impl Compared<'_> {
    /// Judges both sides; names are for people.
    pub fn row(&self, ours: (&Side, &str), peer: (&Side, &str, &'static str)) -> Option<Comparison> {
        let (sums, others) = (ours.0.sums(), peer.0.sums());
        let ratio = |(ours, peer): (&f64, &f64)| if self.aim == Aim::AtLeast { peer / ours } else { ours / peer };
        let ratios: Vec<f64> = sums.iter().zip(&others).map(ratio).collect();
        let measured = ours.0.measured(ours.1, "service", self.questions);
        let against = peer.0.measured(peer.1, peer.2, self.questions);
        Comparison::new(self.id, self.aim, self.target, &ratios, measured, Some(against))
    }
}

/// Voids the run where two sides do not say the same.
///
/// # Errors
///
/// [`Void`] with the first figures that differ.
pub fn compare(question: Question, ours: &Answer, peer: &Answer, name: &str) -> Result<(), Void> {
    if ours.is_empty() {
        return Err(Void(format!("{}: the answer holds nothing", question.name())));
    }
    if ours == peer {
        return Ok(());
    }
    let differing = ours.iter().zip(peer).find(|(ours, peer)| ours != peer);
    let lengths = (ours.len(), peer.len());
    Err(Void(format!("{}: {name} answers otherwise ({lengths:?} figures): {differing:?}", question.name())))
}

#[cfg(test)]
mod tests {
    use super::super::questions::Figure;
    use super::*;

    fn answer(cents: i64) -> Answer {
        let revenue = rust_decimal::Decimal::new(cents, 2);
        let key = "1".to_owned();
        vec![Figure { key, revenue, transactions: 1, items_sold: 1, total_discount: rust_decimal::Decimal::ZERO }]
    }

    #[test]
    fn answers_that_differ_by_a_cent_or_hold_nothing_void_the_run() {
        let question = Question::Summary;
        compare(question, &answer(1), &answer(1), "peer").unwrap();
        assert!(compare(question, &answer(1), &answer(2), "peer").is_err());
        assert!(compare(question, &Answer::new(), &Answer::new(), "peer").is_err());
        assert!(compare(question, &answer(1), &Answer::new(), "peer").is_err());
    }

    #[test]
    fn a_ratio_is_of_the_sums_over_all_questions() {
        let side = |rounds: &[[f64; 2]]| Side {
            rounds: rounds.iter().map(|round| round.to_vec()).collect(),
            ..Side::default()
        };
        let (ours, peer) = (side(&[[1.0, 1.0], [1.0, 3.0]]), side(&[[150.0, 50.0], [200.0, 200.0]]));
        let compared =
            Compared { id: "Q1", aim: Aim::AtLeast, target: 100.0, questions: &[Question::Summary, Question::Daily] };
        let row = compared.row((&ours, "ours"), (&peer, "peer", "peer")).unwrap();
        assert_eq!((row.ratio, row.holds), (100.0, true));
        assert_eq!(row.detail.peer.unwrap().parts["summary"], 175.0);
    }
}
