//! Field masks (AIP-134): which fields of a message a caller means.

use prost_types::FieldMask;

use super::reader::Reader;
use crate::domain::Fault;

/// Of a path that is refused, the answer repeats no more than this.
const MAX_PATH_SHOWN: usize = 60;

/// Which fields are meant.
pub enum Mask {
    /// Those that are set.
    Set,
    /// All, set or not.
    All,
    /// These, set or not.
    Named(Vec<String>),
}

impl Mask {
    /// Reads a mask that may name `allowed` fields.
    pub fn read(reader: &mut Reader<'_>, mask: Option<FieldMask>, allowed: &[&str]) -> Option<Self> {
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        match paths.as_slice() {
            [] => return Some(Self::Set),
            [all] if all == "*" => return Some(Self::All),
            _ => {}
        }
        match paths.iter().find(|path| !allowed.contains(&path.as_str())) {
            None => Some(Self::Named(paths)),
            Some(unknown) => {
                let path = unknown.chars().take(MAX_PATH_SHOWN).collect();
                reader.wrong("update_mask", Fault::UnknownPath { path, allowed: allowed.join(", ") });
                None
            }
        }
    }

    /// Whether `field` is to change, given whether it is set.
    pub fn covers(&self, field: &str, is_set: bool) -> bool {
        match self {
            Self::Set => is_set,
            Self::All => true,
            Self::Named(paths) => paths.iter().any(|path| path == field),
        }
    }
}
