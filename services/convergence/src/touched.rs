//! Which rows a message of the output plugin touches: of what the plugin says, as much as a fence needs.

use std::collections::HashMap;

use tandem_replication::Relation;
use tandem_replication::pgoutput::{self, DecodeError, Value};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A row of this table came, changed or went; keys of the row as it was before, where it had another, and as it is.
    Touched { table: u32, keys: Vec<Vec<Option<String>>> },
    /// These tables were emptied.
    Truncated { tables: Vec<u32> },
    /// What a table looks like, before its first change and whenever that may have changed.
    Relation { oid: u32, relation: Relation },
    /// A mark in the log.
    Mark { prefix: String, content: String },
    /// Begin, commit, origin, type.
    Other,
}

/// Reads a message whole. Of changed rows only the columns at `keys[table]` are kept, in that order.
pub(crate) fn read(bytes: &[u8], keys: &HashMap<u32, Vec<usize>>) -> Result<Message, DecodeError> {
    use pgoutput::Message as Said;

    let touched = |oid: u32, rows: Vec<Vec<Value<'_>>>| {
        let places = keys.get(&oid).ok_or(DecodeError::Table(oid))?;
        let keys = rows.iter().map(|row| key(row, places)).collect::<Result<_, _>>()?;
        Ok(Message::Touched { table: oid, keys })
    };
    match Said::read(bytes)? {
        Said::Insert { oid, new } => touched(oid, vec![new]),
        Said::Update { oid, old, new } => touched(oid, old.into_iter().chain([new]).collect()),
        Said::Delete { oid, old } => touched(oid, vec![old]),
        Said::Truncate { oids } => Ok(Message::Truncated { tables: oids }),
        Said::Relation { oid, relation } => Ok(Message::Relation { oid, relation }),
        Said::Application { prefix, content } => Ok(Message::Mark { prefix, content: text(content) }),
        Said::Begin { .. } | Said::Commit { .. } | Said::Other => Ok(Message::Other),
    }
}

/// Values at these places; `None` for what is null or was not sent.
fn key(row: &[Value<'_>], places: &[usize]) -> Result<Vec<Option<String>>, DecodeError> {
    let value = |place: &usize| match row.get(*place).ok_or(DecodeError::Short)? {
        Value::Null | Value::Unchanged => Ok(None),
        Value::Text(bytes) => Ok(Some(text(bytes))),
    };
    places.iter().map(value).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
