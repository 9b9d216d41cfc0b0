//! The project's own text files.

use std::path::Path;

use anyhow::Context;
use ignore::WalkBuilder;

/// A text file of the project.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path from the workspace's root, with `/` between its parts.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// Written by programs; nobody reads them.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];

impl SourceFile {
    /// Every text file under `root` that git would not ignore, in the order of their paths.
    ///
    /// # Errors
    ///
    /// A file or directory can't be read.
    pub fn of_project(root: &Path) -> anyhow::Result<Vec<Self>> {
        let walk = WalkBuilder::new(root)
            .hidden(false)
            // What one machine ignores is no rule of the project.
            .git_global(false)
            .require_git(false)
            .filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != ".sqlx")
            .build();
        let mut files = Vec::new();
        for entry in walk {
            let entry = entry.context("the project's files can't be listed")?;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let content = std::fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?;
            // What is no text is not for people, and no rule speaks of it.
            let Ok(text) = String::from_utf8(content) else { continue };
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let path: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            let file = Self { path: path.join("/"), text };
            if !GENERATED.contains(&file.name()) {
                files.push(file);
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether this is Rust.
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    /// Whether the name ends with this extension.
    pub fn has_extension(&self, extension: &str) -> bool {
        self.name().rsplit_once('.').is_some_and(|(_, found)| found == extension)
    }
}

/// The line, from 1, that a byte of a text is on.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
pub(super) fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_and_generated_files_are_left_out_and_hidden_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        write(".gitignore", b"/target\n");
        write("target/a.rs", b"");
        write(".ci/run", b"echo");
        write("Cargo.lock", b"");
        write("picture.png", &[0xff, 0xfe, 0x00]);
        write("src/lib.rs", b"");
        let found: Vec<_> = SourceFile::of_project(root.path()).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(found, [".ci/run", ".gitignore", "src/lib.rs"]);
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
