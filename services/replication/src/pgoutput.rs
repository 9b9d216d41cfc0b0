//! What the output plugin `pgoutput` says, message by message: version 1 of PostgreSQL's "Logical Replication Message
//! Formats", which every server from 10 on speaks when it is asked for it.
//!
//! The crates that decode it bring a replication connection of their own or decode for one engine's sake; what is needed
//! here are nine messages out of one column of a query.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::Lsn;

/// A message that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("a message of pgoutput ends too early")]
    Short,
    /// Text that is not UTF-8.
    #[error("a message of pgoutput holds text that is not UTF-8")]
    Text,
    /// A kind that version 1 does not have.
    #[error("pgoutput sent a message of kind {0:?}, which version 1 of its protocol does not have")]
    Kind(char),
    /// A change of a table that was not described before.
    #[error("pgoutput sent a change of table {0}, which it has not described")]
    Table(u32),
}

/// A table as it was when the change was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// schema.table.
    pub name: String,
    /// Published columns.
    pub columns: Vec<TableColumn>,
}

/// A published column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Whether it belongs to the key by which rows are found.
    pub in_key: bool,
}

/// A value of a row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// As text.
    Text(String),
    /// A large value that the statement has left as it was: it is not sent.
    Unchanged,
}

/// A row: a value for each of the table's columns.
pub type Row = Vec<Value>;

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A transaction begins. Only committed ones are sent.
    Begin {
        /// Where its COMMIT stands.
        commit_lsn: Lsn,
        /// When it committed.
        committed_at: DateTime<Utc>,
        /// Its id.
        xid: u32,
    },
    /// It ends.
    Commit {
        /// Behind its COMMIT.
        end_lsn: Lsn,
    },
    /// A row came.
    Insert {
        /// Into this table.
        table: Table,
        /// The row.
        new: Row,
    },
    /// A row changed.
    Update {
        /// In this table.
        table: Table,
        /// Its old key, where that has changed, or the whole old row, where the table is set to send it.
        old: Option<Row>,
        /// What it is now.
        new: Row,
    },
    /// A row went.
    Delete {
        /// From this table.
        table: Table,
        /// Its key; the other columns are null, unless the table is set to send the whole row.
        old: Row,
    },
    /// Tables were emptied.
    Truncate {
        /// Which ones, as schema.table.
        tables: Vec<String>,
    },
    /// A description of a table or type, or what is no change: kept, and not passed on.
    Other,
}

/// Decodes one stream; remembers the tables that it has described.
#[derive(Debug, Default)]
pub struct Decoder {
    tables: HashMap<u32, Table>,
}

impl Decoder {
    /// Decodes one message, in the order of the stream.
    pub fn decode(&mut self, message: &[u8]) -> Result<Message, DecodeError> {
        let mut bytes = Bytes(message);
        Ok(match bytes.u8()? {
            b'B' => Message::Begin { commit_lsn: bytes.lsn()?, committed_at: bytes.time()?, xid: bytes.u32()? },
            b'C' => {
                let (_flags, _commit_lsn) = (bytes.u8()?, bytes.lsn()?);
                Message::Commit { end_lsn: bytes.lsn()? }
            }
            b'R' => {
                let oid = bytes.u32()?;
                self.tables.insert(oid, bytes.table()?);
                Message::Other
            }
            b'I' => {
                let table = self.table(bytes.u32()?)?;
                let _new = bytes.u8()?;
                Message::Insert { table, new: bytes.row()? }
            }
            b'U' => {
                let table = self.table(bytes.u32()?)?;
                let old = match bytes.u8()? {
                    b'K' | b'O' => {
                        let old = bytes.row()?;
                        let _new = bytes.u8()?;
                        Some(old)
                    }
                    _ => None,
                };
                Message::Update { table, old, new: bytes.row()? }
            }
            b'D' => {
                let table = self.table(bytes.u32()?)?;
                let _key_or_old = bytes.u8()?;
                Message::Delete { table, old: bytes.row()? }
            }
            b'T' => {
                let (count, _options) = (bytes.u32()?, bytes.u8()?);
                let tables = (0..count).map(|_| Ok(self.table(bytes.u32()?)?.name));
                Message::Truncate { tables: tables.collect::<Result<_, DecodeError>>()? }
            }
            // An origin, a type, a message of an application: they change no row.
            b'O' | b'Y' | b'M' => Message::Other,
            other => return Err(DecodeError::Kind(char::from(other))),
        })
    }

    fn table(&self, oid: u32) -> Result<Table, DecodeError> {
        self.tables.get(&oid).cloned().ok_or(DecodeError::Table(oid))
    }
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Short)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.array().map(u64::from_be_bytes).map(Lsn::new)
    }

    /// Microseconds since the year 2000.
    fn time(&mut self) -> Result<DateTime<Utc>, DecodeError> {
        const THE_YEAR_2000: DateTime<Utc> = DateTime::from_timestamp(946_684_800, 0).expect("a moment");
        Ok(THE_YEAR_2000 + TimeDelta::microseconds(self.array().map(i64::from_be_bytes)?))
    }

    /// Up to a zero byte.
    fn text(&mut self) -> Result<String, DecodeError> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(DecodeError::Short)?;
        let text = utf8(self.take(end)?)?;
        self.u8()?;
        Ok(text)
    }

    fn table(&mut self) -> Result<Table, DecodeError> {
        let (schema, name, _replica_identity, columns) = (self.text()?, self.text()?, self.u8()?, self.u16()?);
        let column = |_| {
            let (flags, name, _type, _modifier) = (self.u8()?, self.text()?, self.u32()?, self.u32()?);
            Ok(TableColumn { name, in_key: flags & 1 == 1 })
        };
        Ok(Table { name: format!("{schema}.{name}"), columns: (0..columns).map(column).collect::<Result<_, _>>()? })
    }

    fn row(&mut self) -> Result<Row, DecodeError> {
        let columns = self.u16()?;
        let value = |_| match self.u8()? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::Unchanged),
            b't' => {
                let length = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
                utf8(self.take(length)?).map(Value::Text)
            }
            other => Err(DecodeError::Kind(char::from(other))),
        };
        (0..columns).map(value).collect()
    }
}

fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Text)
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, Decoder, Message, Value};

    /// `sales.item (id in the key, name)`.
    const RELATION: &[u8] =
        b"R\0\0\0\x07sales\0item\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0name\0\0\0\0\x19\xff\xff\xff\xff";

    #[test]
    fn changes_are_read_with_the_table_that_was_described_before() {
        let mut decoder = Decoder::default();
        let insert = b"I\0\0\0\x07N\0\x02t\0\0\0\x011n";
        assert_eq!(decoder.decode(insert), Err(DecodeError::Table(7)));
        assert_eq!(decoder.decode(RELATION), Ok(Message::Other));
        let Ok(Message::Insert { table, new }) = decoder.decode(insert) else { panic!("an insert") };
        assert_eq!(
            (table.name.as_str(), table.columns[0].in_key, table.columns[1].in_key),
            ("sales.item", true, false)
        );
        assert_eq!(new, [Value::Text("1".to_owned()), Value::Null]);
        let Ok(Message::Update { old, new, .. }) =
            decoder.decode(b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u")
        else {
            panic!("an update")
        };
        assert_eq!(old, Some(vec![Value::Text("1".to_owned()), Value::Null]));
        assert_eq!(new, [Value::Text("2".to_owned()), Value::Unchanged]);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error_and_no_panic() {
        let mut decoder = Decoder::default();
        decoder.decode(RELATION).unwrap();
        let update = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012n";
        for (message, end) in [(RELATION, RELATION.len()), (update, update.len())] {
            for cut in 0..end {
                assert_eq!(decoder.decode(&message[..cut]), Err(DecodeError::Short), "at {cut}");
            }
        }
        assert_eq!(decoder.decode(b"S"), Err(DecodeError::Kind('S')));
    }
}
