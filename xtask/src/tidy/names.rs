//! A name says what is inside.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::sources::SourceFile;

const RULE: &str = "telling-names";

/// Names under which anything may gather.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "helpers", "shared", "core", "misc"];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut reported = BTreeSet::new();
    let mut findings = Vec::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        for (depth, part) in parts.iter().enumerate() {
            let is_file = depth + 1 == parts.len();
            let stem = if is_file { part.strip_suffix(".rs") } else { Some(*part) };
            let Some(stem) = stem.filter(|stem| EMPTY_NAMES.contains(stem)) else { continue };
            // A directory is reported once, not for each file in it.
            if reported.insert(parts[..=depth].join("/")) {
                let advice = format!("`{stem}` says nothing: name it for what it holds");
                findings.push(Finding { file: parts[..=depth].join("/"), line: 1, rule: RULE, advice });
            }
        }
        findings.extend(inline_modules(file));
    }
    findings
}

/// `mod utils { … }` hides from the file system.
fn inline_modules(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let named = (1..).zip(file.text.lines()).filter_map(|(line, text)| {
        let rest = text.trim_start().trim_start_matches("pub ").strip_prefix("mod ")?;
        let name = rest.trim_end().strip_suffix('{')?.trim();
        let advice = format!("`{name}` says nothing: name it for what it holds");
        EMPTY_NAMES.contains(&name).then(|| Finding { file: file.path.clone(), line, rule: RULE, advice })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::super::sources::file;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[file(path, text)]).into_iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect()
    }

    #[test]
    fn empty_names_of_files_directories_and_modules_are_found() {
        assert_eq!(found("xtask/src/utils.rs", ""), ["xtask/src/utils.rs:1"]);
        assert_eq!(found("tests/common/mod.rs", ""), ["tests/common:1"]);
        assert_eq!(found("a/src/lib.rs", "\npub mod helpers {\n}"), ["a/src/lib.rs:2"]);
    }

    #[test]
    fn telling_names_are_not() {
        assert!(found("xtask/src/postgres/core_dump.rs", "mod utilities {").is_empty());
        assert!(found("docs/common.md", "").is_empty());
    }

    #[test]
    fn a_directory_is_reported_once() {
        assert_eq!(check(&[file("a/shared/b.rs", ""), file("a/shared/c.rs", "")]).len(), 1);
    }
}
