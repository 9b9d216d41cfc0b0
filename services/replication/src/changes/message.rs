//! The messages of `pgoutput`, protocol version 1: one change each, values as text.

use std::sync::Arc;

use crate::Lsn;

/// The bytes are no message of the protocol's version 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message of pgoutput can't be read: {what}")]
pub struct MalformedMessage {
    /// What was expected.
    what: &'static str,
}

/// A published table as the stream describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name within the schema.
    pub name: String,
    /// Published columns, in the order in which rows have them.
    pub columns: Vec<Column>,
}

/// A published column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether it is part of the table's replica identity.
    pub is_key: bool,
}

/// One value.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Cell {
    /// NULL; also what an old row does not tell.
    Null,
    /// A large value that an update has left as it was: it is not sent again.
    Unchanged,
    /// As PostgreSQL writes the type.
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

/// Values in the order of [`Relation::columns`].
pub type Row = Vec<Cell>;

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Message {
    Begin {
        commit_lsn: Lsn,
    },
    Commit {
        end_lsn: Lsn,
    },
    Relation {
        id: u32,
        relation: Arc<Relation>,
    },
    Insert {
        id: u32,
        new: Row,
    },
    Update {
        id: u32,
        old: Option<Row>,
        new: Row,
    },
    Delete {
        id: u32,
        old: Row,
    },
    Truncate {
        ids: Vec<u32>,
    },
    /// Types and origins: nothing that changes a row.
    Other,
}

impl Message {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut bytes = Bytes(bytes);
        Ok(match bytes.byte()? {
            b'B' => Self::Begin { commit_lsn: bytes.lsn()? },
            b'C' => {
                bytes.take(1 + 8)?;
                Self::Commit { end_lsn: bytes.lsn()? }
            }
            b'R' => Self::Relation { id: bytes.u32()?, relation: Arc::new(bytes.relation()?) },
            b'I' => {
                let id = bytes.u32()?;
                bytes.expect(b'N')?;
                Self::Insert { id, new: bytes.row()? }
            }
            b'U' => bytes.update()?,
            b'D' => {
                let id = bytes.u32()?;
                // K: the key alone, O: the whole row.
                bytes.byte()?;
                Self::Delete { id, old: bytes.row()? }
            }
            b'T' => {
                let count = bytes.u32()?;
                bytes.byte()?;
                Self::Truncate { ids: (0..count).map(|_| bytes.u32()).collect::<Result<_, _>>()? }
            }
            b'Y' | b'O' | b'M' => Self::Other,
            _ => return Err(MalformedMessage { what: "a known kind of message" }),
        })
    }
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedMessage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MalformedMessage { what: "more bytes" })?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, MalformedMessage> {
        self.take(1).map(|byte| byte[0])
    }

    fn expect(&mut self, wanted: u8) -> Result<(), MalformedMessage> {
        if self.byte()? == wanted { Ok(()) } else { Err(MalformedMessage { what: "a new row" }) }
    }

    fn u16(&mut self) -> Result<u16, MalformedMessage> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, MalformedMessage> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn lsn(&mut self) -> Result<Lsn, MalformedMessage> {
        let (high, low) = (self.u32()?, self.u32()?);
        Ok(Lsn::new(u64::from(high) << 32 | u64::from(low)))
    }

    fn text(&mut self) -> Result<String, MalformedMessage> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(MalformedMessage { what: "the end of a text" })?;
        let text = utf8(self.take(end)?)?;
        self.take(1)?;
        Ok(text)
    }

    fn relation(&mut self) -> Result<Relation, MalformedMessage> {
        let (schema, name) = (self.text()?, self.text()?);
        // The replica identity's setting; the columns' flags tell what it comes to.
        self.byte()?;
        let count = self.u16()?;
        let column = |_| {
            let flags = self.byte()?;
            let name = self.text()?;
            self.take(8)?;
            Ok(Column { name, is_key: flags & 1 == 1 })
        };
        let columns = (0..count).map(column).collect::<Result<_, _>>()?;
        Ok(Relation { schema, name, columns })
    }

    fn row(&mut self) -> Result<Row, MalformedMessage> {
        let count = self.u16()?;
        (0..count).map(|_| self.cell()).collect()
    }

    fn cell(&mut self) -> Result<Cell, MalformedMessage> {
        match self.byte()? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Unchanged),
            b't' => {
                let length = self.u32()?;
                let length = usize::try_from(length).map_err(|_| MalformedMessage { what: "a length" })?;
                Ok(Cell::Text(utf8(self.take(length)?)?))
            }
            _ => Err(MalformedMessage { what: "a value as text" }),
        }
    }

    fn update(&mut self) -> Result<Message, MalformedMessage> {
        let id = self.u32()?;
        let old = match self.byte()? {
            b'K' | b'O' => {
                let old = self.row()?;
                self.expect(b'N')?;
                Some(old)
            }
            b'N' => None,
            _ => return Err(MalformedMessage { what: "an old or a new row" }),
        };
        Ok(Message::Update { id, old, new: self.row()? })
    }
}

/// The database's encoding is UTF-8, which both services ask of it.
fn utf8(bytes: &[u8]) -> Result<String, MalformedMessage> {
    String::from_utf8(bytes.to_vec()).map_err(|_| MalformedMessage { what: "text in UTF-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&[u8]]) -> Vec<u8> {
        let count = u16::try_from(cells.len()).unwrap();
        [&count.to_be_bytes()[..], &cells.concat()].concat()
    }

    #[test]
    fn an_update_tells_its_old_key_and_what_it_left_as_it_was() {
        let old = row(&[b"t\0\0\0\x011", b"n"]);
        let new = row(&[b"t\0\0\0\x012", b"u"]);
        let bytes = [b"U\0\0\0\x07K", &old[..], b"N", &new].concat();
        let text = |text: &str| Cell::Text(text.to_owned());
        let expected =
            Message::Update { id: 7, old: Some(vec![text("1"), Cell::Null]), new: vec![text("2"), Cell::Unchanged] };
        assert_eq!(Message::read(&bytes), Ok(expected));
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused_wherever_it_is_cut() {
        let whole = [b"I\0\0\0\x07N", &row(&[b"t\0\0\0\x03abc"])[..]].concat();
        assert!(Message::read(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(Message::read(&whole[..end]).is_err(), "{end}");
        }
    }
}
