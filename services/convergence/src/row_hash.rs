//! The hash of a row, as SQL.
//!
//! Columns are chained: the hash of one is the seed of the next, by the hash function of each column's own type. So it matters
//! which value is in which column, and, since the key is among them, in which row: two columns of a row that trade values, and
//! two rows that do, change the sum over the rows. `hash_record_extended` does not see the latter (it is a weighted sum of the
//! columns' hashes) and takes twice as long, for it builds a record of each row and takes it apart again.
//!
//! A hash function says nothing of a null, and would end the chain. Columns that may be null on either side are therefore hashed
//! each with a seed of its own, a null as a number of its own, and begin the chain together.

use crate::mutation::mutated;
use crate::published::{Column, PublishedTable};

/// Of every published column of a row `t`.
pub(crate) fn row_hash(table: &PublishedTable) -> String {
    let all = table.columns.as_slice();
    let columns = mutated!(ForgetLastColumn, all, &all[..all.len() - 1]);
    mutated!(NoChain, chained(table, columns), summed(columns))
}

fn chained(table: &PublishedTable, columns: &[Column]) -> String {
    let (sure, nullable): (Vec<&Column>, Vec<&Column>) = columns.iter().partition(|column| column.not_null);
    let begin: Vec<String> = nullable.iter().zip(1..).map(|(column, number)| or_null(column, number)).collect();
    let begin = if begin.is_empty() { "0".to_owned() } else { begin.join(" # ") };
    let is_key = |column: &Column| table.key.iter().any(|key| key.name == column.name);
    let (alone, together): (Vec<&Column>, Vec<&Column>) =
        sure.into_iter().partition(|column| is_key(column) || !needs_record(column));
    let chain = match alone.is_empty() {
        // What begins a chain is a sum, in which the values of two rows could trade places.
        true => format!("hashint4extended(0, {begin})"),
        false => alone.into_iter().fold(begin, |seed, column| hashed(column, &value(column), &seed)),
    };
    // A record's hash is a weighted sum, each of whose columns is hashed with the seed: the key has to be in that.
    match together.is_empty() {
        true => chain,
        false => in_record(&together.into_iter().map(value).collect::<Vec<_>>(), &chain),
    }
}

fn in_record(values: &[String], seed: &str) -> String {
    format!("hash_record_extended(row({}), {seed})", values.join(", "))
}

/// Whether its type has a hash function that can't be called with its values: those of dates and of moments are declared for
/// integers and for local times. A record knows how; to build one costs as much as two columns, so one is built for all.
fn needs_record(column: &Column) -> bool {
    let direct = [
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "uuid",
        "text",
        "character varying",
        "boolean",
        "timestamp without time zone",
    ];
    column.hashable && !direct.contains(&column.type_name.as_str())
}

#[cfg(test)]
fn summed(columns: &[Column]) -> String {
    let values: Vec<String> = columns.iter().map(value).collect();
    in_record(&values, "0")
}

fn value(column: &Column) -> String {
    format!("t.{}", column.quoted)
}

fn or_null(column: &Column, number: i32) -> String {
    let name = value(column);
    let value = mutated!(NullIsEmpty, name, if column.collatable { format!("coalesce({name}, '')") } else { name });
    format!("coalesce({}, -{number})", hashed(column, &value, &number.to_string()))
}

/// Text is hashed by its bytes, whatever its collation takes for equal. Types without a hash function of their own (an enum's goes
/// by the number of its label's row) are hashed as text.
fn hashed(column: &Column, value: &str, seed: &str) -> String {
    match column.type_name.as_str() {
        "smallint" => format!("hashint2extended({value}, {seed})"),
        "integer" => format!("hashint4extended({value}, {seed})"),
        "bigint" => format!("hashint8extended({value}, {seed})"),
        "numeric" => format!("hash_numeric_extended({value}, {seed})"),
        "uuid" => format!("uuid_hash_extended({value}, {seed})"),
        "text" | "character varying" => format!("hashtextextended({value} collate \"C\", {seed})"),
        "boolean" => format!("hashint4extended({value}::integer, {seed})"),
        "timestamp without time zone" => format!("timestamp_hash_extended({value}, {seed})"),
        _ if column.hashable => in_record(&[value.to_owned()], seed),
        _ => format!("hashtextextended({value}::text collate \"C\", {seed})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::tests::table;

    #[test]
    fn every_published_column_is_in_the_row_hash() {
        let expected = "hashtextextended(t.d::text collate \"C\", hashint4extended(t.a, \
            hashtextextended(t.\"B\" collate \"C\", 0)))";
        assert_eq!(row_hash(&table(&["a"])), expected);
    }

    #[test]
    fn columns_that_may_be_null_begin_the_chain_each_with_a_number_of_its_own() {
        let mut table = table(&["a"]);
        table.columns[0].not_null = false;
        table.columns[2].not_null = false;
        let begin = "coalesce(hashtextextended(t.\"B\" collate \"C\", 1), -1) # \
            coalesce(hashtextextended(t.d::text collate \"C\", 2), -2)";
        assert_eq!(row_hash(&table), format!("hashint4extended(t.a, {begin})"));
        table.columns[1].not_null = false;
        assert!(row_hash(&table).starts_with("hashint4extended(0, coalesce("));
    }

    #[test]
    fn columns_that_need_a_record_share_one_whose_seed_has_the_key_in_it() {
        let mut table = table(&["a"]);
        for column in &mut table.columns {
            (column.type_name, column.hashable) = ("date".to_owned(), true);
        }
        let expected = "hash_record_extended(row(t.\"B\", t.d), hash_record_extended(row(t.a), 0))";
        assert_eq!(row_hash(&table), expected);
    }
}
