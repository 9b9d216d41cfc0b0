//! The house rules that a program can check: `cargo xtask tidy`.
//!
//! They are the invariants of `services/ARCHITECTURE.md` about files and imports. Each rule is a function from the
//! project's files to findings, and its tests plant what it must find.

mod command;
mod finding;
mod imports;
mod manifests;
mod names;
mod rust_code;
mod settings;
mod sources;
mod texts;

pub use command::{Args, findings, run};
pub use finding::Finding;
pub use sources::SourceFile;
