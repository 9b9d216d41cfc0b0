//! Statements that write rows on the replica. Names came quoted from a catalogue; values are bound, as text.

use crate::key::Key;
use crate::published::{Column, PublishedTable};
use crate::statement::{Statement, Value, key_texts};

/// Locks the rows with these keys that nobody else has locked: `key`.
pub(super) fn lock(table: &PublishedTable, keys: &[Key]) -> Statement {
    let mut statement = present(table, keys);
    statement.sql.push_str(" for update of t skip locked");
    statement
}

/// The rows with these keys that are there: `key`.
pub(super) fn present(table: &PublishedTable, keys: &[Key]) -> Statement {
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let (wanted, equal) = statement.wanted(table, keys);
    statement.sql = format!("select {} as key from {} as t join {wanted} on {equal}", key_texts(table), table.relation);
    statement
}

/// Takes rows away; nothing where there are none.
pub(super) fn delete(table: &PublishedTable, keys: &[Key]) -> Option<Statement> {
    if keys.is_empty() {
        return None;
    }
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let (wanted, equal) = statement.wanted(table, keys);
    statement.sql = format!("delete from {} as t using {wanted} where {equal}", table.relation);
    Some(statement)
}

/// Puts rows in. A row that has come meanwhile stays: it was touched, and the batch will be rolled back.
pub(super) fn insert(table: &PublishedTable, rows: Vec<Vec<Option<String>>>) -> Option<Statement> {
    let (mut statement, given) = given(table, rows)?;
    let columns: Vec<&str> = table.columns.iter().map(|column| column.quoted.as_str()).collect();
    statement.sql = format!(
        "insert into {} ({}) overriding system value select {} from {given} on conflict do nothing",
        table.relation,
        columns.join(", "),
        (1..).zip(&table.columns).map(|(number, column)| cast(number, column)).collect::<Vec<_>>().join(", ")
    );
    Some(statement)
}

/// Makes rows what they are to be.
pub(super) fn update(table: &PublishedTable, rows: Vec<Vec<Option<String>>>) -> Option<Statement> {
    let (mut statement, given) = given(table, rows)?;
    let is_key = |column: &Column| table.key.contains(column);
    let numbered = || (1..).zip(&table.columns);
    let set: Vec<String> = numbered()
        .filter(|(_, column)| !is_key(column))
        .map(|(number, column)| format!("{} = {}", column.quoted, cast(number, column)))
        .collect();
    let equal: Vec<String> = numbered()
        .filter(|(_, column)| is_key(column))
        .map(|(number, column)| format!("t.{} = {}", column.quoted, cast(number, column)))
        .collect();
    if set.is_empty() {
        return None;
    }
    statement.sql =
        format!("update {} as t set {} from {given} where {}", table.relation, set.join(", "), equal.join(" and "));
    Some(statement)
}

fn cast(number: usize, column: &Column) -> String {
    format!("given.tandem_value_{number}::{}", column.type_name)
}

/// Rows as a table; nothing where there are none.
fn given(table: &PublishedTable, rows: Vec<Vec<Option<String>>>) -> Option<(Statement, String)> {
    if rows.is_empty() {
        return None;
    }
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let mut by_column = vec![Vec::new(); table.columns.len()];
    for row in rows {
        by_column.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    let parameters: Vec<String> =
        by_column.into_iter().map(|values| format!("${}::text[]", statement.bind(Value::Nullable(values)))).collect();
    let names: Vec<String> = (1..=table.columns.len()).map(|number| format!("tandem_value_{number}")).collect();
    let given = format!("unnest({}) as given ({})", parameters.join(", "), names.join(", "));
    Some((statement, given))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::tests::table;

    #[test]
    fn rows_are_written_with_the_types_of_their_columns_and_keys_stay() {
        let row = vec![Some("x".to_owned()), Some("1".to_owned()), None];
        let table = table(&["a"]);
        let insert = insert(&table, vec![row.clone()]).unwrap();
        assert!(insert.sql.starts_with("insert into s.\"T\" (\"B\", a, d) overriding"), "{}", insert.sql);
        let update = update(&table, vec![row]).unwrap();
        let expected = "update s.\"T\" as t set \"B\" = given.tandem_value_1::text, d = given.tandem_value_3::json from \
            unnest($1::text[], $2::text[], $3::text[]) as given (tandem_value_1, tandem_value_2, tandem_value_3) where \
            t.a = given.tandem_value_2::integer";
        assert_eq!(update.sql, expected);
    }
}
