//! Etags: names of a sale's versions (AIP-154).

use std::fmt;

use super::fault::Fault;

/// Names one version of a sale. Opaque to callers; the text is `v` and the version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Etag(i64);

impl Etag {
    /// The etag of this version.
    pub const fn of_version(version: i64) -> Self {
        Self(version)
    }

    /// `None` for the empty text, which makes a command unconditional.
    pub fn parse(text: &str) -> Result<Option<Self>, Fault> {
        if text.is_empty() {
            return Ok(None);
        }
        let digits = text.strip_prefix('v').ok_or(Fault::NotAnEtag)?;
        match digits.parse() {
            // Only what Display writes: "v01" and "v+1" name nothing.
            Ok(version) if version >= 1 && Self(version).to_string() == text => Ok(Some(Self(version))),
            _ => Err(Fault::NotAnEtag),
        }
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Etag, Fault};

    #[test]
    fn an_etag_is_taken_only_as_it_was_given() {
        assert_eq!(Etag::parse("v7"), Ok(Some(Etag::of_version(7))));
        assert_eq!(Etag::parse(""), Ok(None));
        for text in ["7", "v", "v0", "v-1", "v01", "v+1", "V7", "v7 ", "v99999999999999999999"] {
            assert_eq!(Etag::parse(text), Err(Fault::NotAnEtag), "{text:?}");
        }
    }
}
