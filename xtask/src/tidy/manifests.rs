//! Every crate takes its lints and versions from the root.

use toml::{Table, Value};

use super::finding::Finding;
use super::sources::SourceFile;

const LINTS: &str = "workspace-lints";
const VERSIONS: &str = "workspace-versions";
const STRANGERS: &str = "services-are-strangers";
const UNREADABLE: &str = "manifest";

const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let members = files.iter().filter(|file| file.name() == "Cargo.toml" && file.path != "Cargo.toml");
    members.flat_map(member).collect()
}

fn member(file: &SourceFile) -> Vec<Finding> {
    let finding = |line, rule, advice| Finding { file: file.path.clone(), line, rule, advice };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(_) => return vec![finding(1, UNREADABLE, "this is no TOML: let cargo say where".to_owned())],
    };
    let mut findings = Vec::new();
    if !inherits(manifest.get("lints")) {
        findings.push(finding(1, LINTS, "add `[lints]` with `workspace = true`".to_owned()));
    }
    for (name, dependency) in dependencies(&manifest) {
        let line = line_naming(&file.text, name);
        if !inherits(Some(dependency)) {
            let advice = format!("write `{name}.workspace = true`; the root Cargo.toml has the version");
            findings.push(finding(line, VERSIONS, advice));
        }
        if is_stranger(&file.path, name) {
            let advice = format!("only tests and xtask see both services: do without `{name}`");
            findings.push(finding(line, STRANGERS, advice));
        }
    }
    findings
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// All dependencies, also those of one platform only.
fn dependencies(manifest: &Table) -> Vec<(&String, &Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = std::iter::once(manifest).chain(platforms.filter_map(Value::as_table));
    let found = tables.flat_map(|table| DEPENDENCIES.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    found.flat_map(Table::iter).collect()
}

fn is_stranger(path: &str, name: &str) -> bool {
    let service = name == "tandem-command" || name == "tandem-query";
    service && !path.starts_with("tests/") && !path.starts_with("xtask/")
}

/// The line on which a dependency is named; 1 where it is written in a way of its own.
fn line_naming(text: &str, name: &str) -> usize {
    let named = |line: &str| {
        let rest = line.trim_start().strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    text.lines().position(named).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::sources::file;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(&[file(path, text)]).into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_member_that_inherits_everything_is_fine() {
        let text = "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n\
                    [dev-dependencies]\nserde_json = { workspace = true }\n";
        assert_eq!(found("proto/Cargo.toml", text), []);
    }

    #[test]
    fn lints_of_its_own_or_none_are_found() {
        assert_eq!(found("proto/Cargo.toml", "[package]\n"), [(1, LINTS)]);
        assert_eq!(found("proto/Cargo.toml", "[lints.rust]\nunsafe_code = \"deny\"\n"), [(1, LINTS)]);
    }

    #[test]
    fn a_version_or_path_in_a_member_is_found_in_every_kind_of_dependency() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            for dependency in ["serde = \"1\"", "serde = { path = \"../serde\" }"] {
                let text = format!("[lints]\nworkspace = true\n[{table}]\n{dependency}\n");
                assert_eq!(found("xtask/Cargo.toml", &text), [(4, VERSIONS)], "{text}");
            }
        }
    }

    #[test]
    fn only_tests_and_xtask_depend_on_a_service() {
        let text = "[lints]\nworkspace = true\n[dependencies]\ntandem-query.workspace = true\n";
        assert_eq!(found("services/command/Cargo.toml", text), [(4, STRANGERS)]);
        assert_eq!(found("services/replication/Cargo.toml", text), [(4, STRANGERS)]);
        assert_eq!(found("tests/Cargo.toml", text), []);
    }

    #[test]
    fn the_root_may_name_versions() {
        assert_eq!(found("Cargo.toml", "[workspace.dependencies]\nserde = \"=1.0.0\"\n"), []);
    }
}
