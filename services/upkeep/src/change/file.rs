//! What is to change, as a file says it.

use serde::{Deserialize, Serialize};

/// A column of a published table.
///
/// It may be null: what a replica has not heard of yet, and what old writers leave out, has no value. A check or NOT NULL
/// that the primary should have besides is for a migration of a release that knows the column.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its table's schema and name: `sales.sales_item`.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Its type, as SQL writes it; the same on both sides.
    #[serde(rename = "type")]
    pub data_type: String,
    /// What it is on the primary for rows that leave it out, as SQL.
    #[serde(default)]
    pub default: Option<String>,
    /// What it becomes for rows that are there already, as SQL over the table's other columns; never null.
    #[serde(default)]
    pub backfill: Option<String>,
}

/// Why a file says nothing that can be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ChangeFileError {
    /// It is no TOML, or says something else.
    #[error("the change can't be read: it is TOML with table, column, type, and perhaps default and backfill")]
    Malformed(#[from] toml::de::Error),
    /// The table is not named with its schema.
    #[error("the change's table is written with its schema, such as sales.sales_item")]
    NoSchema,
    /// Rows that come while old ones are filled would be left empty.
    #[error("a change with a backfill needs a default, too: rows that come meanwhile are filled by it")]
    NoDefault,
}

impl Change {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// [`ChangeFileError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ChangeFileError> {
        let change: Self = toml::from_str(text)?;
        if change.table.split_once('.').is_none() {
            return Err(ChangeFileError::NoSchema);
        }
        if change.backfill.is_some() && change.default.is_none() {
            return Err(ChangeFileError::NoDefault);
        }
        Ok(change)
    }

    pub(super) fn schema(&self) -> &str {
        self.table.split_once('.').map_or("", |(schema, _)| schema)
    }

    pub(super) fn name(&self) -> &str {
        self.table.split_once('.').map_or(&self.table, |(_, name)| name)
    }

    /// The table, quoted for SQL.
    pub(super) fn relation(&self) -> String {
        crate::table::relation(self.schema(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_needs_and_nothing_else() {
        let plain = "table = 'sales.sales_item'\ncolumn = 'note'\ntype = 'text'\n";
        assert!(Change::parse(plain).is_ok());
        assert!(matches!(Change::parse(&format!("{plain}nullable = true")), Err(ChangeFileError::Malformed(_))));
        assert!(matches!(Change::parse(&format!("{plain}backfill = '1'")), Err(ChangeFileError::NoDefault)));
        assert!(Change::parse(&format!("{plain}backfill = '1'\ndefault = '2'")).is_ok());
        let bare = "table = 'sales_item'\ncolumn = 'note'\ntype = 'text'";
        assert!(matches!(Change::parse(bare), Err(ChangeFileError::NoSchema)));
    }
}
