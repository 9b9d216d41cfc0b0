//! What the output plugin `pgoutput` says, as far as it is needed: which rows of which tables were touched.
//!
//! The format is that of "Logical Replication Message Formats" in PostgreSQL's manual, protocol version 1.

use std::collections::HashMap;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A row of this table came, changed or went; keys of the row as it was before, where it had another, and as it is.
    Touched { table: u32, keys: Vec<Vec<Option<String>>> },
    /// These tables were emptied.
    Truncated { tables: Vec<u32> },
    /// What a table looks like, before its first change and whenever that may have changed.
    Relation(Relation),
    /// A mark in the log.
    Mark { prefix: String, content: String },
    /// Begin, commit, origin, type.
    Other,
}

/// What a table looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    /// `schema.table`.
    pub(crate) name: String,
    /// Names of the published columns, in the table's order.
    pub(crate) columns: Vec<String>,
}

/// A message that is not what the manual says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of the output plugin ends too early or holds what is unknown: {0:?}")]
pub struct Garbled(Vec<u8>);

/// Reads a message whole. Of changed rows only the columns at `keys[table]` are kept, in that order.
pub(crate) fn read(bytes: &[u8], keys: &HashMap<u32, Vec<usize>>) -> Result<Message, Garbled> {
    Reader { rest: bytes }.message(keys).ok_or_else(|| Garbled(bytes.iter().copied().take(64).collect()))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn message(&mut self, keys: &HashMap<u32, Vec<usize>>) -> Option<Message> {
        Some(match self.byte()? {
            b'R' => Message::Relation(self.relation()?),
            b'I' | b'U' | b'D' => {
                let table = self.u32()?;
                let places = keys.get(&table)?;
                let mut found = Vec::new();
                while !self.rest.is_empty() {
                    // K: old key; O: old row; N: new row.
                    matches!(self.byte()?, b'K' | b'O' | b'N').then_some(())?;
                    found.push(self.tuple(places)?);
                }
                (!found.is_empty()).then_some(Message::Touched { table, keys: found })?
            }
            b'T' => {
                let count = self.u32()?;
                self.byte()?;
                Message::Truncated { tables: (0..count).map(|_| self.u32()).collect::<Option<_>>()? }
            }
            b'M' => {
                self.bytes(1 + 8)?;
                let prefix = self.string()?;
                let length = usize::try_from(self.u32()?).ok()?;
                let content = String::from_utf8_lossy(self.bytes(length)?).into_owned();
                Message::Mark { prefix, content }
            }
            b'B' | b'C' | b'O' | b'Y' => Message::Other,
            _ => return None,
        })
    }

    fn relation(&mut self) -> Option<Relation> {
        let oid = self.u32()?;
        // An empty name stands for pg_catalog.
        let name = format!("{}.{}", self.string()?, self.string()?);
        self.byte()?;
        let columns = (0..self.u16()?)
            .map(|_| {
                self.byte()?;
                let column = self.string()?;
                self.bytes(4 + 4)?;
                Some(column)
            })
            .collect::<Option<_>>()?;
        Some(Relation { oid, name, columns })
    }

    /// Values at these places; `None` for what is null or was not sent.
    fn tuple(&mut self, places: &[usize]) -> Option<Vec<Option<String>>> {
        let values = (0..self.u16()?)
            .map(|_| {
                Some(match self.byte()? {
                    b'n' | b'u' => None,
                    b't' => {
                        let length = usize::try_from(self.u32()?).ok()?;
                        Some(self.bytes(length)?)
                    }
                    _ => return None,
                })
            })
            .collect::<Option<Vec<Option<&[u8]>>>>()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        places.iter().map(|place| values.get(*place).map(|value| value.map(text))).collect()
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.bytes(end + 1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: u32 = 7;

    fn tuple(values: &[Option<&str>]) -> Vec<u8> {
        let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                None => bytes.push(b'n'),
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes
    }

    fn change(kind: u8, tuples: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(TABLE.to_be_bytes());
        for (kind, tuple) in tuples {
            bytes.push(*kind);
            bytes.extend(tuple);
        }
        bytes
    }

    /// The keys in the second and first column.
    fn touched(bytes: &[u8]) -> Vec<Vec<Option<String>>> {
        match read(bytes, &HashMap::from([(TABLE, vec![1, 0])])).unwrap() {
            Message::Touched { table: TABLE, keys } => keys,
            other => panic!("{other:?}"),
        }
    }

    fn key(one: &str, other: &str) -> Vec<Option<String>> {
        vec![Some(one.to_owned()), Some(other.to_owned())]
    }

    #[test]
    fn an_insert_touches_its_key_in_the_order_of_the_key() {
        let row = tuple(&[Some("a"), Some("1"), None]);
        assert_eq!(touched(&change(b'I', &[(b'N', row)])), [key("1", "a")]);
    }

    #[test]
    fn an_update_that_moves_a_row_touches_both_keys() {
        let (old, new) = (tuple(&[Some("a"), Some("1"), None]), tuple(&[Some("b"), Some("2"), Some("x")]));
        assert_eq!(touched(&change(b'U', &[(b'K', old), (b'N', new)])), [key("1", "a"), key("2", "b")]);
    }

    #[test]
    fn a_delete_touches_the_key_that_was() {
        assert_eq!(touched(&change(b'D', &[(b'K', tuple(&[Some("a"), Some("1"), None]))])), [key("1", "a")]);
        assert_eq!(touched(&change(b'D', &[(b'O', tuple(&[Some("a"), Some("1")]))])), [key("1", "a")]);
    }

    #[test]
    fn truncated_tables_are_named() {
        let bytes = [&[b'T'][..], &2_u32.to_be_bytes(), &[0], &7_u32.to_be_bytes(), &9_u32.to_be_bytes()].concat();
        assert_eq!(read(&bytes, &HashMap::new()), Ok(Message::Truncated { tables: vec![7, 9] }));
    }

    #[test]
    fn a_mark_is_read_with_its_content() {
        let bytes = [&[b'M', 1][..], &[0; 8], b"tandem\0", &2_u32.to_be_bytes(), b"ab"].concat();
        let mark = Message::Mark { prefix: "tandem".to_owned(), content: "ab".to_owned() };
        assert_eq!(read(&bytes, &HashMap::new()), Ok(mark));
    }

    #[test]
    fn a_message_that_ends_too_early_is_garbled_at_every_length() {
        let whole = change(b'I', &[(b'N', tuple(&[Some("a"), Some("1")]))]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length], &HashMap::from([(TABLE, vec![0])])).is_err(), "{length}");
        }
    }
}
