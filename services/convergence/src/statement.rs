//! What is asked of a table. Every name came quoted from the primary's catalogue; every value is bound.

use std::fmt::Write as _;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};

use crate::error::Side;
use crate::key::{Key, KeyRange, by_column};
use crate::mutation::mutated;
use crate::published::{Column, PublishedTable};
use crate::row_hash::row_hash;

/// A statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Texts(Vec<String>),
    Nullable(Vec<Option<String>>),
}

/// Which rows of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// Those whose keys lie in the range.
    InRange(&'a KeyRange),
    /// Those whose keys lie in both ranges.
    InBothRanges([&'a KeyRange; 2]),
    /// Those of the blocks from one on up to and without another; up to the end where there is no other.
    InBlocks(u64, Option<u64>),
    /// Those with one of these keys.
    WithKeys(&'a [Key]),
    /// Those with one of these keys that lie in the range.
    WithKeysInRange(&'a [Key], &'a KeyRange),
    /// Those that belong to one of these sales.
    OfSales(&'a [String]),
}

impl Statement {
    pub(crate) fn query(&self) -> Query<'_, Postgres, PgArguments> {
        let query = sqlx::query(AssertSqlSafe(self.sql.as_str()));
        self.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Texts(texts) => query.bind(texts),
            Value::Nullable(texts) => query.bind(texts),
        })
    }

    pub(crate) fn bind(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len()
    }

    /// `from … where …`.
    fn rows(mut self, table: &PublishedTable, side: Side, rows: Rows<'_>) -> Self {
        let mut conditions = Vec::new();
        let _infallible = write!(self.sql, " from {} as t", table.relation);
        match rows {
            Rows::InRange(range) => self.range(table, range, &mut conditions),
            Rows::InBothRanges(ranges) => ranges.iter().for_each(|range| self.range(table, range, &mut conditions)),
            Rows::InBlocks(from, until) => {
                conditions.push(format!("t.ctid >= '({from},0)'::tid"));
                conditions.extend(until.map(|until| format!("t.ctid < '({until},0)'::tid")));
            }
            Rows::WithKeys(keys) => self.keys(table, keys),
            Rows::WithKeysInRange(keys, range) => {
                self.keys(table, keys);
                self.range(table, range, &mut conditions);
            }
            Rows::OfSales(ids) => {
                let number = self.bind(Value::Texts(ids.to_vec()));
                conditions.push(format!("t.transaction_id = any(${number}::text[]::uuid[])"));
            }
        }
        // Rows that the filter holds back are absent on the replica by design, so only the primary filters.
        let filtering = mutated!(FilterNoSide, side == Side::Primary, false);
        conditions.extend(table.row_filter.clone().filter(|_| filtering));
        if !conditions.is_empty() {
            let _infallible = write!(self.sql, " where {}", conditions.join(" and "));
        }
        self
    }

    fn keys(&mut self, table: &PublishedTable, keys: &[Key]) {
        let (wanted, equal) = self.wanted(table, keys);
        let _infallible = write!(self.sql, " join {wanted} on {equal}");
    }

    /// The keys as a table, and what holds for the rows that have one of them.
    pub(crate) fn wanted(&mut self, table: &PublishedTable, keys: &[Key]) -> (String, String) {
        let names: Vec<String> = (1..=table.key.len()).map(|number| format!("tandem_key_{number}")).collect();
        let parameters: Vec<String> = by_column(keys, table.key.len())
            .into_iter()
            .map(|values| format!("${}::text[]", self.bind(Value::Texts(values))))
            .collect();
        let equal: Vec<String> = table
            .key
            .iter()
            .zip(&names)
            .map(|(column, name)| format!("t.{} = wanted.{name}::{}", column.quoted, column.type_name))
            .collect();
        let wanted = format!("unnest({}) as wanted ({})", parameters.join(", "), names.join(", "));
        (wanted, equal.join(" and "))
    }

    fn range(&mut self, table: &PublishedTable, range: &KeyRange, conditions: &mut Vec<String>) {
        let key = ordered(table);
        let from = mutated!(OpenLowerBound, ">=", ">");
        let until = mutated!(ClosedUpperBound, "<", "<=");
        for (bound, operator) in [(&range.from, from), (&range.until, until)] {
            let Some(bound) = bound else { continue };
            let values: Vec<String> = table
                .key
                .iter()
                .zip(&bound.0)
                .map(|(column, value)| {
                    let number = self.bind(Value::Text(value.clone()));
                    format!("${number}::text::{}", column.type_name)
                })
                .collect();
            conditions.push(format!("({key}) {operator} ({})", values.join(", ")));
        }
    }
}

/// The columns of the key as both sides order them: by bytes, since collations differ from machine to machine.
fn ordered(table: &PublishedTable) -> String {
    let column = |column: &Column| {
        let collation = if column.collatable { " collate \"C\"" } else { "" };
        format!("t.{}{collation}", column.quoted)
    };
    table.key.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The text of each column of the key, as the output plugin writes it.
pub(crate) fn key_texts(table: &PublishedTable) -> String {
    let texts: Vec<String> = table.key.iter().map(|column| format!("format('%s', t.{})", column.quoted)).collect();
    format!("array[{}]::text[]", texts.join(", "))
}

/// How many rows, and the sum of their hashes: `rows`, `hash`; and how many bytes of log the server has ever written: `log`.
pub(crate) fn sums(table: &PublishedTable, side: Side, rows: Rows<'_>) -> Statement {
    let hash = row_hash(table);
    let log = "(pg_current_wal_insert_lsn() - '0/0')::bigint as log";
    let sql = format!("select count(*) as rows, coalesce(sum({hash}), 0)::text as hash, {log}");
    Statement { sql, values: Vec::new() }.rows(table, side, rows)
}

/// Key and hash of each row: `key`, `hash`.
pub(crate) fn hashes(table: &PublishedTable, side: Side, rows: Rows<'_>) -> Statement {
    let sql = format!("select {} as key, {} as hash", key_texts(table), row_hash(table));
    Statement { sql, values: Vec::new() }.rows(table, side, rows)
}

/// Every `step`th key of a range, in their order, without the first: `key`.
pub(crate) fn cuts(table: &PublishedTable, side: Side, range: &KeyRange, step: u64) -> Statement {
    let sql = format!(
        "select {texts} as key, row_number() over (order by {order}) as position",
        texts = key_texts(table),
        order = ordered(table),
    );
    let inner = Statement { sql, values: Vec::new() }.rows(table, side, Rows::InRange(range));
    let sql = format!(
        "select key from ({}) as numbered where position > 1 and (position - 1) % {step} = 0 order by position",
        inner.sql
    );
    Statement { sql, ..inner }
}

/// The key that stands so many rows behind the first one of all these ranges: `key`; no row where there is none.
pub(crate) fn key_at(table: &PublishedTable, side: Side, ranges: [&KeyRange; 2], behind: u64) -> Statement {
    let sql = format!("select {} as key", key_texts(table));
    let mut statement = Statement { sql, values: Vec::new() }.rows(table, side, Rows::InBothRanges(ranges));
    let _infallible = write!(statement.sql, " order by {} offset {behind} limit 1", ordered(table));
    statement
}

/// Keys of rows here and there, in their order, `count` at most: `key`.
pub(crate) fn anywhere(table: &PublishedTable, percent: f64, count: u64) -> Statement {
    let (order, texts) = (ordered(table), key_texts(table));
    let sql = format!(
        "select key from (
            select {texts} as key, row_number() over (order by {order}) as position, random() as chance
            from {} as t tablesample system ({percent})
            order by chance limit {count}
        ) as chosen order by position",
        table.relation
    );
    Statement { sql, values: Vec::new() }
}

/// Key and the text of each published column, null where it is null: `key`, `texts`.
pub(crate) fn texts(table: &PublishedTable, side: Side, keys: &[Key]) -> Statement {
    let column = |column: &Column| format!("case when t.{0} is not null then format('%s', t.{0}) end", column.quoted);
    let texts: Vec<String> = table.columns.iter().map(column).collect();
    let sql = format!("select {} as key, array[{}]::text[] as texts", key_texts(table), texts.join(", "));
    Statement { sql, values: Vec::new() }.rows(table, side, Rows::WithKeys(keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::tests::table;

    fn key(values: &[&str]) -> Key {
        Key(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn the_row_filter_applies_to_the_primary_only() {
        let range = KeyRange::ALL;
        assert!(sums(&table(&["a"]), Side::Primary, Rows::InRange(&range)).sql.ends_with("as t where (a > 1)"));
        assert!(sums(&table(&["a"]), Side::Replica, Rows::InRange(&range)).sql.ends_with("from s.\"T\" as t"));
    }

    #[test]
    fn ranges_are_half_open_and_compare_whole_keys_by_bytes() {
        let range = KeyRange { from: Some(key(&["1", "x"])), until: Some(key(&["2", "y"])) };
        let statement = sums(&table(&["a", "B"]), Side::Replica, Rows::InRange(&range));
        let expected = "where (t.a, t.\"B\" collate \"C\") >= ($1::text::integer, $2::text::text) \
            and (t.a, t.\"B\" collate \"C\") < ($3::text::integer, $4::text::text)";
        assert!(statement.sql.ends_with(expected), "{}", statement.sql);
        assert_eq!(statement.values.len(), 4);
    }

    #[test]
    fn keys_are_bound_column_by_column() {
        let keys = [key(&["1", "x"]), key(&["2", "y"])];
        let statement = hashes(&table(&["a", "B"]), Side::Replica, Rows::WithKeys(&keys));
        let expected = "join unnest($1::text[], $2::text[]) as wanted (tandem_key_1, tandem_key_2) \
            on t.a = wanted.tandem_key_1::integer and t.\"B\" = wanted.tandem_key_2::text";
        assert!(statement.sql.ends_with(expected), "{}", statement.sql);
    }
}
