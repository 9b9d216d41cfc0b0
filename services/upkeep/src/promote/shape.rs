//! What a table is besides its rows, and the way from one shape to another.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::table::{quoted, relation};

/// Everything of a table that its rows don't tell. Two tables of one shape can take each other's place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(super) struct Shape {
    owner: String,
    comment: Option<String>,
    options: Vec<String>,
    replica_identity: String,
    pub(super) columns: Vec<Column>,
    /// Definitions by name.
    constraints: BTreeMap<String, String>,
    /// Those that no constraint has made.
    indexes: BTreeMap<String, String>,
    /// Definition, and how it is enabled.
    triggers: BTreeMap<String, (String, String)>,
    /// Each completes "grant".
    grants: Vec<String>,
    /// Why it can't be brought into another table.
    pub(super) hindrances: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: String,
    not_null: bool,
    default: Option<String>,
    storage: String,
    comment: Option<String>,
}

/// What makes one shape of another.
pub(super) struct Reshaping {
    /// In this order.
    pub(super) statements: Vec<String>,
    /// Once every table has had its own: what names other tables.
    pub(super) at_last: Vec<String>,
}

impl Shape {
    /// Of the ordinary table of this name; `None` where there is none.
    pub(super) async fn find(
        connection: &mut PgConnection,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>, sqlx::Error> {
        let found: Option<Json<Self>> =
            sqlx::query_scalar(include_str!("shape.sql")).bind(schema).bind(name).fetch_optional(connection).await?;
        Ok(found.map(|Json(shape)| shape))
    }

    /// The columns of `wanted` that this one can't be given: they are not there, or of another type.
    pub(super) fn lacks(&self, wanted: &Self) -> Vec<String> {
        let there = |column: &Column| {
            self.columns.iter().any(|own| own.name == column.name && own.data_type == column.data_type)
        };
        wanted.columns.iter().filter(|column| !there(column)).map(|column| column.name.clone()).collect()
    }

    /// From this shape of `schema.name` to the wanted one, which has no column that this one lacks. The table is read once
    /// for its checks, and once for each index and foreign key that is new.
    pub(super) fn reshaped(&self, wanted: &Self, schema: &str, name: &str) -> Reshaping {
        let table = relation(schema, name);
        let gone = |index: &String| format!("drop index if exists {}", relation(schema, index));
        let mut statements: Vec<String> =
            self.triggers.keys().map(|trigger| format!("drop trigger {} on {table}", quoted(trigger))).collect();
        // Their indexes go along.
        let alter = self.alterations(wanted);
        if !alter.is_empty() {
            statements.push(format!("alter table {table} {}", alter.join(", ")));
        }
        statements.extend(other_than(&self.indexes, &wanted.indexes).map(|(index, _)| gone(index)));
        statements.extend(other_than(&wanted.indexes, &self.indexes).map(|(_, definition)| definition.clone()));
        statements.extend(self.grants.iter().map(|grant| format!("revoke {}", revoked(grant))));
        statements.push(format!("alter table {table} owner to {}", quoted(&wanted.owner)));
        statements.extend(wanted.grants.iter().map(|grant| format!("grant {grant}")));
        statements.extend(self.remarks(wanted, &table));
        let mut at_last: Vec<String> = other_than(&wanted.constraints, &self.constraints)
            .filter(|(_, definition)| names_another(definition))
            .map(|(name, definition)| format!("alter table {table} add constraint {} {definition}", quoted(name)))
            .collect();
        for (trigger, (definition, enabled)) in &wanted.triggers {
            at_last.push(definition.clone());
            at_last.push(format!("alter table {table} {enabled} trigger {}", quoted(trigger)));
        }
        Reshaping { statements, at_last }
    }

    /// What one ALTER TABLE can do.
    fn alterations(&self, wanted: &Self) -> Vec<String> {
        let mut alter: Vec<String> = other_than(&self.constraints, &wanted.constraints)
            .map(|(name, _)| format!("drop constraint {}", quoted(name)))
            .collect();
        for own in &self.columns {
            let column = quoted(&own.name);
            let Some(wanted) = wanted.columns.iter().find(|wanted| wanted.name == own.name) else {
                alter.push(format!("drop column {column}"));
                continue;
            };
            match (&own.default, &wanted.default) {
                (own, wanted) if own == wanted => {}
                (_, None) => alter.push(format!("alter column {column} drop default")),
                (_, Some(default)) => alter.push(format!("alter column {column} set default {default}")),
            }
            match (own.not_null, wanted.not_null) {
                (false, true) => alter.push(format!("alter column {column} set not null")),
                (true, false) => alter.push(format!("alter column {column} drop not null")),
                (true, true) | (false, false) => {}
            }
            if own.storage != wanted.storage {
                alter.push(format!("alter column {column} set storage {}", wanted.storage));
            }
        }
        alter.extend(
            other_than(&wanted.constraints, &self.constraints)
                .filter(|(_, definition)| !names_another(definition))
                .map(|(name, definition)| format!("add constraint {} {definition}", quoted(name))),
        );
        if self.replica_identity != wanted.replica_identity {
            // One by an index stays what it was, which the comparison afterwards refuses.
            alter.extend(match wanted.replica_identity.as_str() {
                "d" => Some("replica identity default".to_owned()),
                "f" => Some("replica identity full".to_owned()),
                "n" => Some("replica identity nothing".to_owned()),
                _ => None,
            });
        }
        alter
    }

    fn remarks(&self, wanted: &Self, table: &str) -> Vec<String> {
        let mut statements = Vec::new();
        if self.options != wanted.options {
            let names = self.options.iter().filter_map(|option| Some(quoted(option.split_once('=')?.0)));
            let names = names.collect::<Vec<_>>().join(", ");
            if !names.is_empty() {
                statements.push(format!("alter table {table} reset ({names})"));
            }
            let given = wanted.options.iter().filter_map(|option| option.split_once('='));
            let given = given.map(|(name, value)| format!("{} = {}", quoted(name), literal(value)));
            let given = given.collect::<Vec<_>>().join(", ");
            if !given.is_empty() {
                statements.push(format!("alter table {table} set ({given})"));
            }
        }
        let comment = |text: Option<&String>| text.map_or_else(|| "null".to_owned(), |text| literal(text));
        if self.comment != wanted.comment {
            statements.push(format!("comment on table {table} is {}", comment(wanted.comment.as_ref())));
        }
        for column in &wanted.columns {
            let own = self.columns.iter().find(|own| own.name == column.name);
            if own.is_some_and(|own| own.comment != column.comment) {
                let text = comment(column.comment.as_ref());
                statements.push(format!("comment on column {table}.{} is {text}", quoted(&column.name)));
            }
        }
        statements
    }
}

/// Those of `these` that `those` lacks, or has otherwise.
fn other_than<'a, T: PartialEq>(
    these: &'a BTreeMap<String, T>,
    those: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    these.iter().filter(|(name, definition)| those.get(*name) != Some(definition))
}

fn names_another(constraint: &str) -> bool {
    constraint.starts_with("FOREIGN KEY")
}

/// "select on a to b with grant option" as "select on a from b".
fn revoked(grant: &str) -> String {
    let grant = grant.strip_suffix(" with grant option").unwrap_or(grant);
    let (what, whom) = grant.rsplit_once(" to ").unwrap_or((grant, "public"));
    format!("{what} from {whom}")
}

/// A text, quoted for SQL.
fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
