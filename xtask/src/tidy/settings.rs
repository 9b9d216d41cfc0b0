//! Every environment variable that the code names stands in the README.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::finding::Finding;
use super::rust_code::{Kind, tokens};
use super::sources::SourceFile;

const RULE: &str = "documented-settings";
const README: &str = "README.md";

static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bTANDEM_[A-Z0-9_]*[A-Z0-9]\b").expect("the pattern is a constant"));

/// A variable, or several at once: `TANDEM_PRIMARY_{HOST,PORT}`.
static DOCUMENTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bTANDEM_(?:[A-Z0-9_]|\{[A-Z0-9_, ]+\})+").expect("the pattern is a constant"));

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let readme = files.iter().find(|file| file.path == README);
    let documented: BTreeSet<String> = readme.map(|readme| documented(&readme.text)).unwrap_or_default();
    let mut reported = BTreeSet::new();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !is_test(file)) {
        for (line, variable) in named(&file.text) {
            if !documented.contains(&variable) && reported.insert(variable.clone()) {
                let advice = format!("describe {variable} in {README}, with its default");
                findings.push(Finding { file: file.path.clone(), line, rule: RULE, advice });
            }
        }
    }
    findings
}

/// What tests set for themselves is no setting.
fn is_test(file: &SourceFile) -> bool {
    file.path.starts_with("tests/") || file.path.contains("/tests/")
}

/// The variables that stand whole in a string. Names put together at run time are not seen.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for token in tokens(text) {
        if let Kind::Text(text) = token.kind {
            named.extend(VARIABLE.find_iter(&text).map(|found| (token.line, found.as_str().to_owned())));
        }
    }
    named
}

fn documented(readme: &str) -> BTreeSet<String> {
    DOCUMENTED.find_iter(readme).flat_map(|found| expand(found.as_str())).collect()
}

/// `A_{B,C}` as `A_B` and `A_C`.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return vec![pattern.to_owned()];
    };
    let Some((choices, after)) = rest.split_once('}') else {
        return vec![pattern.to_owned()];
    };
    let ends = expand(after);
    let starts = choices.split(',').map(|choice| format!("{before}{}", choice.trim()));
    starts.flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sources::file;
    use super::*;

    fn found(readme: &str, code: &str) -> Vec<(usize, String)> {
        let findings = check(&[file(README, readme), file("services/command/src/settings.rs", code)]);
        findings.into_iter().map(|finding| (finding.line, finding.advice)).collect()
    }

    #[test]
    fn a_variable_that_the_readme_lacks_is_found_once() {
        let advice = "describe TANDEM_LOG in README.md, with its default".to_owned();
        assert_eq!(found("TANDEM_LOGS, TANDEM_LO", "\nvar(\"TANDEM_LOG\");\nvar(\"TANDEM_LOG\");"), [(2, advice)]);
    }

    #[test]
    fn a_documented_variable_is_fine() {
        assert_eq!(found("| `TANDEM_LOG` | info |", "var(\"TANDEM_LOG\")"), []);
    }

    #[test]
    fn several_may_be_documented_at_once() {
        let readme = "`TANDEM_{PRIMARY,REPLICA}_{HOST, PORT}`";
        assert_eq!(found(readme, "a(\"TANDEM_PRIMARY_PORT\", \"TANDEM_REPLICA_HOST\")"), []);
        assert_eq!(found(readme, "a(\"TANDEM_REPLICA_USER\")").len(), 1);
    }

    #[test]
    fn prefixes_comments_and_tests_name_no_variable() {
        let code = "// TANDEM_A\na(\"TANDEM_PRIMARY_\");\n#[cfg(test)]\nmod tests { a(\"TANDEM_B\"); }";
        assert_eq!(found("", code), []);
        assert_eq!(check(&[file("xtask/tests/pair.rs", "a(\"TANDEM_C\")")]), []);
    }
}
