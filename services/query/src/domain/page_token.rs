//! What tokens of pages have in common: a body, the hash of the question that they belong to, and a checksum.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{fault::Fault, limits::MAX_PAGE_TOKEN, range::Range};

/// Of the hash of a question, and of a token's checksum.
const HASH: usize = 8;

/// A question in short, to tell it from others.
pub type QuestionHash = [u8; HASH];

/// Hashes a question field by field. Lengths stand before lists and texts, so that no two questions make the same bytes.
pub struct QuestionHasher(Sha256);

impl QuestionHasher {
    /// Of one kind of listing: a token of one is none of another.
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).text(kind)
    }

    pub fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_be_bytes());
        self.0.update(text);
        self
    }

    pub fn number(mut self, number: i64) -> Self {
        self.0.update(number.to_be_bytes());
        self
    }

    pub fn ids(self, ids: &[i32]) -> Self {
        let count = self.length(ids.len());
        ids.iter().fold(count, |hasher, id| hasher.number((*id).into()))
    }

    pub fn texts(self, texts: &[String]) -> Self {
        let count = self.length(texts.len());
        texts.iter().fold(count, |hasher, text| hasher.text(text))
    }

    pub fn optional<T>(self, value: Option<T>, hash: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => hash(self.number(1), value),
            None => self.number(0),
        }
    }

    pub fn range(self, range: Range) -> Self {
        self.number(range.start().timestamp_micros()).number(range.end().timestamp_micros())
    }

    pub fn finish(self) -> QuestionHash {
        short(self.0)
    }

    fn length(mut self, length: usize) -> Self {
        self.0.update(length.to_be_bytes());
        self
    }
}

/// The text of a token.
pub fn seal(question: QuestionHash, body: &[u8]) -> String {
    let mut bytes = [&question[..], body].concat();
    bytes.extend(short(Sha256::new().chain_update(&bytes)));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The question that a token belongs to, and its body of `BODY` bytes.
pub fn open<const BODY: usize>(text: &str) -> Result<(QuestionHash, [u8; BODY]), Fault> {
    let parts = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, sum) = bytes.split_last_chunk::<HASH>()?;
        let (question, body) = signed.split_first_chunk::<HASH>()?;
        let whole = short(Sha256::new().chain_update(signed)) == *sum;
        Some((*question, body.try_into().ok()?)).filter(|_| whole)
    };
    if text.len() > MAX_PAGE_TOKEN {
        return Err(Fault::NotAPageToken);
    }
    parts().ok_or(Fault::NotAPageToken)
}

fn short(hasher: Sha256) -> [u8; HASH] {
    let digest = hasher.finalize();
    std::array::from_fn(|index| digest[index])
}
