//! What a call brings beside its message: the consistency tokens in its metadata.

use tandem_proto::agreed::CONSISTENCY_TOKEN;
use tandem_replication::{ConsistencyToken, Position};
use tonic::{Request, metadata::MetadataMap};

use crate::domain::{Fault, Violation, limits::MAX_CARRIED_TOKENS};

/// What the answer has to cover whatever the message asks.
pub type Carried = Vec<Position>;

/// Reads a call of any RPC: its message by `decode`, and the tokens that it carries. Every RPC goes through here, so that a
/// client library can carry a token to each of them unseen. What is wrong with either is told together.
pub fn call<M, T>(
    request: Request<M>,
    decode: impl FnOnce(M) -> Result<T, Vec<Violation>>,
) -> Result<(T, Carried), Vec<Violation>> {
    let carried = carried(request.metadata());
    match (decode(request.into_inner()), carried) {
        (Ok(asked), Ok(carried)) => Ok((asked, carried)),
        (asked, carried) => {
            let mut violations = asked.err().unwrap_or_default();
            violations
                .extend(carried.err().map(|fault| Violation { field: format!("metadata.{CONSISTENCY_TOKEN}"), fault }));
            Err(violations)
        }
    }
}

/// A key that comes twice may have been made one on the way, its values joined by commas, which no token has.
fn carried(metadata: &MetadataMap) -> Result<Carried, Fault> {
    let mut positions = Vec::new();
    for value in metadata.get_all(CONSISTENCY_TOKEN) {
        for token in value.to_str().map_err(|_| Fault::NotAToken)?.split(',') {
            let token = token.trim().parse::<ConsistencyToken>().map_err(|_| Fault::NotAToken)?;
            positions.push(token.position());
        }
    }
    match positions.len() {
        ..=MAX_CARRIED_TOKENS => Ok(positions),
        actual => Err(Fault::TooMany { max: MAX_CARRIED_TOKENS, actual }),
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::{Lsn, SystemIdentity};
    use tonic::metadata::MetadataValue;

    use super::{CONSISTENCY_TOKEN, Fault, Position, Request, Violation, call};

    const POSITION: Position =
        Position { identity: SystemIdentity { system_identifier: 7, timeline: 1 }, lsn: Lsn::new(100) };

    fn with(values: &[&[u8]]) -> Request<()> {
        let mut request = Request::new(());
        for value in values {
            request.metadata_mut().append(CONSISTENCY_TOKEN, MetadataValue::try_from(*value).unwrap());
        }
        request
    }

    fn fault(values: &[&[u8]]) -> Fault {
        let mut violations = call(with(values), Ok).unwrap_err();
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, "metadata.tandem-consistency-token"));
        violations.remove(0).fault
    }

    #[test]
    fn tokens_are_read_from_the_metadata_of_any_call() {
        let token = POSITION.token().to_string();
        let (one, joined) = (token.as_bytes(), format!("{token}, {token}"));
        assert_eq!(call(with(&[]), Ok).unwrap().1, []);
        assert_eq!(call(with(&[one]), Ok).unwrap().1, [POSITION]);
        assert_eq!(call(with(&[one, joined.as_bytes()]), Ok).unwrap().1, [POSITION; 3]);
    }

    #[test]
    fn what_is_no_token_is_refused_and_so_are_too_many() {
        let token = POSITION.token().to_string();
        for garbage in [b"".as_slice(), b"garbage", &token.as_bytes()[1..], b"\xff\xfe", b","] {
            assert_eq!(fault(&[garbage]), Fault::NotAToken, "{garbage:?}");
            assert_eq!(fault(&[token.as_bytes(), garbage]), Fault::NotAToken, "{garbage:?}");
        }
        assert_eq!(fault(&[token.as_bytes(); 17]), Fault::TooMany { max: 16, actual: 17 });
    }

    #[test]
    fn what_is_wrong_with_the_message_is_told_beside() {
        let wrong = Violation { field: "transaction_id".to_owned(), fault: Fault::Missing };
        let violations = call(with(&[b"garbage"]), |()| Err::<(), _>(vec![wrong.clone()])).unwrap_err();
        assert_eq!(violations.len(), 2);
        assert_eq!(violations[0], wrong);
    }
}
