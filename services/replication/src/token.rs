//! Consistency tokens: a position that callers carry from a write to a read.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{Lsn, Position, SystemIdentity};

/// The layout that this build writes. Another one is refused, never guessed at.
const VERSION: u8 = 1;
/// Version, system identifier, timeline, LSN.
const BODY: usize = 1 + 8 + 4 + 8;
/// Enough to tell a token from a typing error. It is no signature: a token grants nothing, it only asks for a wait.
const CHECKSUM: usize = 3;

/// A position that covers a write or an answer. Opaque to callers: 32 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConsistencyToken(Position);

impl ConsistencyToken {
    /// The token that covers everything before `position`.
    pub const fn new(position: Position) -> Self {
        Self(position)
    }

    /// What the token covers.
    pub const fn position(self) -> Position {
        self.0
    }
}

impl fmt::Display for ConsistencyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { identity, lsn } = self.0;
        let mut bytes = Vec::with_capacity(BODY + CHECKSUM);
        bytes.push(VERSION);
        bytes.extend(identity.system_identifier.to_be_bytes());
        bytes.extend(identity.timeline.to_be_bytes());
        bytes.extend(lsn.as_u64().to_be_bytes());
        bytes.extend(checksum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// The text is no token that this build can read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseTokenError {
    /// Damaged, cut off, or never a token.
    #[error("not a consistency token")]
    Malformed,
    /// Well-formed, of a layout that this build does not know.
    #[error("a consistency token of version {0}, which is not known here")]
    UnknownVersion(u8),
}

impl FromStr for ConsistencyToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseTokenError::Malformed)?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(ParseTokenError::Malformed)?;
        if checksum(body) != *sum {
            return Err(ParseTokenError::Malformed);
        }
        let (&version, body) = body.split_first().ok_or(ParseTokenError::Malformed)?;
        if version != VERSION {
            return Err(ParseTokenError::UnknownVersion(version));
        }
        let (system, body) = body.split_first_chunk::<8>().ok_or(ParseTokenError::Malformed)?;
        let (timeline, body) = body.split_first_chunk::<4>().ok_or(ParseTokenError::Malformed)?;
        let lsn: [u8; 8] = body.try_into().map_err(|_| ParseTokenError::Malformed)?;
        let identity =
            SystemIdentity { system_identifier: i64::from_be_bytes(*system), timeline: i32::from_be_bytes(*timeline) };
        Ok(Self(Position { identity, lsn: Lsn::new(u64::from_be_bytes(lsn)) }))
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    [digest[0], digest[1], digest[2]]
}

#[cfg(test)]
mod tests {
    use super::{ConsistencyToken, ParseTokenError};
    use crate::{Lsn, Position, SystemIdentity};

    fn token() -> ConsistencyToken {
        let identity = SystemIdentity { system_identifier: -7_710_370_912_226_435_147, timeline: 3 };
        ConsistencyToken::new(Position { identity, lsn: Lsn::new(0x16_B374_D848) })
    }

    #[test]
    fn text_goes_there_and_back() {
        let text = token().to_string();
        assert_eq!(text.len(), 32);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(text.parse(), Ok(token()));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = token().to_string();
        for place in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<ConsistencyToken>().is_err(), "{changed}");
        }
    }

    #[test]
    fn what_was_never_a_token_is_refused() {
        for text in ["", "x", "AAAA", "0/16B3748", "not a token", "AQ=="] {
            assert_eq!(text.parse::<ConsistencyToken>(), Err(ParseTokenError::Malformed), "{text:?}");
        }
    }
}
