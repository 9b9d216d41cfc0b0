//! What the output plugin `pgoutput` says, message by message: version 1 of PostgreSQL's "Logical Replication Message
//! Formats", which every server from 10 on speaks when it is asked for it. Values are sent as text.
//!
//! The crates that decode it bring a replication connection of their own or decode for one engine's sake; what is needed
//! here are ten messages out of one column of a query.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::Lsn;

/// A message that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("a message of pgoutput ends too early")]
    Short,
    /// Text that is not UTF-8, the encoding that both services ask of their databases.
    #[error("a message of pgoutput holds text that is not UTF-8")]
    Text,
    /// A kind that version 1 does not have.
    #[error("pgoutput sent a message of kind {0:?}, which version 1 of its protocol does not have")]
    Kind(char),
    /// A change of a table that was not described before.
    #[error("pgoutput sent a change of table {0}, which it has not described")]
    Table(u32),
}

/// A published table, as it was when the change was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relation {
    /// Its schema; empty for pg_catalog.
    pub schema: String,
    /// Its name within the schema.
    pub name: String,
    /// Published columns, in the order in which rows have them.
    pub columns: Vec<Column>,
}

impl Relation {
    /// schema.table.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A published column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it is part of the table's replica identity.
    pub is_key: bool,
}

/// The tables that a stream has described so far.
#[derive(Clone, Debug, Default)]
pub struct Relations(HashMap<u32, Arc<Relation>>);

impl Relations {
    /// Takes in what [`Message::Relation`] says.
    pub fn learn(&mut self, oid: u32, relation: Relation) {
        self.0.insert(oid, Arc::new(relation));
    }

    /// The table that a change is of.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Table`].
    pub fn of(&self, oid: u32) -> Result<&Arc<Relation>, DecodeError> {
        self.0.get(&oid).ok_or(DecodeError::Table(oid))
    }
}

/// A value as it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// NULL; also what an old row does not tell.
    Null,
    /// A large value that an update has left as it was: it is not sent again.
    Unchanged,
    /// As PostgreSQL writes the type, in the database's encoding.
    Text(&'a [u8]),
}

/// A value that is kept.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Cell {
    /// As [`Value::Null`].
    Null,
    /// As [`Value::Unchanged`].
    Unchanged,
    /// As [`Value::Text`].
    Text(String),
}

impl Cell {
    /// The value as text; `None` for NULL and for what was not sent.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Unchanged => None,
        }
    }
}

impl TryFrom<Value<'_>> for Cell {
    type Error = DecodeError;

    fn try_from(value: Value<'_>) -> Result<Self, DecodeError> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Unchanged => Self::Unchanged,
            Value::Text(bytes) => Self::Text(utf8(bytes)?),
        })
    }
}

/// Values in the order of [`Relation::columns`].
pub type Row = Vec<Cell>;

/// The row, to be kept.
///
/// # Errors
///
/// [`DecodeError::Text`].
pub fn kept(values: Vec<Value<'_>>) -> Result<Row, DecodeError> {
    values.into_iter().map(Cell::try_from).collect()
}

/// One message. Tables are named by the ids under which they were described; rows have a value for each column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message<'a> {
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
    /// What a table looks like, before its first change and whenever that may have changed.
    Relation {
        /// The table.
        oid: u32,
        /// What it looks like.
        relation: Relation,
    },
    /// A row came.
    Insert {
        /// Into this table.
        oid: u32,
        /// The row.
        new: Vec<Value<'a>>,
    },
    /// A row changed.
    Update {
        /// In this table.
        oid: u32,
        /// Its old key, where that has changed, or the whole old row, where the table is set to send it.
        old: Option<Vec<Value<'a>>>,
        /// What it is now.
        new: Vec<Value<'a>>,
    },
    /// A row went.
    Delete {
        /// From this table.
        oid: u32,
        /// Its key; the other columns are null, unless the table is set to send the whole row.
        old: Vec<Value<'a>>,
    },
    /// Tables were emptied.
    Truncate {
        /// Which ones.
        oids: Vec<u32>,
    },
    /// What an application has written into the log; sent where it is asked for.
    Application {
        /// Whose it is.
        prefix: String,
        /// What it says.
        content: &'a [u8],
    },
    /// An origin or a type: nothing that changes a row.
    Other,
}

impl<'a> Message<'a> {
    /// Reads a message whole.
    ///
    /// # Errors
    ///
    /// It is none of version 1.
    pub fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Bytes(message);
        Ok(match bytes.u8()? {
            b'B' => Self::Begin { commit_lsn: bytes.lsn()?, committed_at: bytes.time()?, xid: bytes.u32()? },
            b'C' => {
                let (_flags, _commit_lsn) = (bytes.u8()?, bytes.lsn()?);
                Self::Commit { end_lsn: bytes.lsn()? }
            }
            b'R' => Self::Relation { oid: bytes.u32()?, relation: bytes.relation()? },
            b'I' => {
                let oid = bytes.u32()?;
                bytes.expect(b'N')?;
                Self::Insert { oid, new: bytes.row()? }
            }
            b'U' => bytes.update()?,
            b'D' => {
                let (oid, kind) = (bytes.u32()?, bytes.u8()?);
                match kind {
                    // The key alone; the whole row.
                    b'K' | b'O' => Self::Delete { oid, old: bytes.row()? },
                    other => return Err(DecodeError::Kind(char::from(other))),
                }
            }
            b'T' => {
                let (count, _options) = (bytes.u32()?, bytes.u8()?);
                Self::Truncate { oids: (0..count).map(|_| bytes.u32()).collect::<Result<_, _>>()? }
            }
            b'M' => {
                let (_flags, _lsn, prefix) = (bytes.u8()?, bytes.lsn()?, bytes.text()?);
                Self::Application { prefix, content: bytes.counted()? }
            }
            b'O' | b'Y' => Self::Other,
            other => return Err(DecodeError::Kind(char::from(other))),
        })
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

    fn expect(&mut self, wanted: u8) -> Result<(), DecodeError> {
        let found = self.u8()?;
        if found == wanted { Ok(()) } else { Err(DecodeError::Kind(char::from(found))) }
    }

    /// As many bytes as it says first.
    fn counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
        self.take(length)
    }

    /// Up to a zero byte.
    fn text(&mut self) -> Result<String, DecodeError> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(DecodeError::Short)?;
        let text = utf8(self.take(end)?)?;
        self.u8()?;
        Ok(text)
    }

    fn relation(&mut self) -> Result<Relation, DecodeError> {
        // The replica identity's setting; the columns' flags tell what it comes to.
        let (schema, name, _replica_identity, columns) = (self.text()?, self.text()?, self.u8()?, self.u16()?);
        let column = |_| {
            let (flags, name, _type, _modifier) = (self.u8()?, self.text()?, self.u32()?, self.u32()?);
            Ok(Column { name, is_key: flags & 1 == 1 })
        };
        let columns = (0..columns).map(column).collect::<Result<_, _>>()?;
        Ok(Relation { schema, name, columns })
    }

    fn update(&mut self) -> Result<Message<'a>, DecodeError> {
        let oid = self.u32()?;
        let old = match self.u8()? {
            b'K' | b'O' => {
                let old = self.row()?;
                self.expect(b'N')?;
                Some(old)
            }
            b'N' => None,
            other => return Err(DecodeError::Kind(char::from(other))),
        };
        Ok(Message::Update { oid, old, new: self.row()? })
    }

    fn row(&mut self) -> Result<Vec<Value<'a>>, DecodeError> {
        let columns = self.u16()?;
        let value = |_| match self.u8()? {
            b'n' => Ok(Value::Null),
            b'u' => Ok(Value::Unchanged),
            b't' => self.counted().map(Value::Text),
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
    use super::*;

    /// `sales.item (id in the key, name)`.
    const RELATION: &[u8] =
        b"R\0\0\0\x07sales\0item\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0name\0\0\0\0\x19\xff\xff\xff\xff";

    #[test]
    fn changes_are_read_with_the_table_that_was_described_before() {
        let mut relations = Relations::default();
        let insert = b"I\0\0\0\x07N\0\x02t\0\0\0\x011n";
        let Ok(Message::Insert { oid, new }) = Message::read(insert) else { panic!("an insert") };
        assert_eq!(relations.of(oid), Err(DecodeError::Table(7)));
        let Ok(Message::Relation { oid: described, relation }) = Message::read(RELATION) else { panic!("a table") };
        relations.learn(described, relation);
        let table = relations.of(oid).unwrap();
        assert_eq!(
            (table.qualified_name().as_str(), table.columns[0].is_key, table.columns[1].is_key),
            ("sales.item", true, false)
        );
        assert_eq!(kept(new), Ok(vec![Cell::Text("1".to_owned()), Cell::Null]));
    }

    #[test]
    fn an_update_tells_its_old_key_and_what_it_left_as_it_was() {
        let update = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u";
        let expected = Message::Update {
            oid: 7,
            old: Some(vec![Value::Text(b"1"), Value::Null]),
            new: vec![Value::Text(b"2"), Value::Unchanged],
        };
        assert_eq!(Message::read(update), Ok(expected));
        assert_eq!(kept(vec![Value::Unchanged]), Ok(vec![Cell::Unchanged]));
        assert_eq!(kept(vec![Value::Text(b"\xff")]), Err(DecodeError::Text));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_an_error_and_no_panic() {
        let update = b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012n";
        let insert = b"I\0\0\0\x07N\0\x01t\0\0\0\x03abc";
        for message in [RELATION, update, insert] {
            assert!(Message::read(message).is_ok());
            for cut in 0..message.len() {
                assert_eq!(Message::read(&message[..cut]), Err(DecodeError::Short), "at {cut}");
            }
        }
        assert_eq!(Message::read(b"S"), Err(DecodeError::Kind('S')));
    }
}
