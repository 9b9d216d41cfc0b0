//! What must not stand in any file, and how long a file may be.

use std::sync::LazyLock;

use regex::Regex;

use super::finding::Finding;
use super::rust_code::{Kind, tokens};
use super::sources::{SourceFile, line_of};

const LENGTH: &str = "file-length";
const MACHINE_PATH: &str = "machine-path";
const UNFINISHED: &str = "unfinished";
const LISTED_COLUMNS: &str = "listed-columns";

/// A file that is read in one sitting.
const MAX_LINES: usize = 400;

/// Directories of somebody's own machine. The pattern is put together here so that it does not find itself.
static MACHINE_PATHS: LazyLock<Regex> = LazyLock::new(|| {
    let tops = ["root", "home", "work", "Users"].join("|");
    Regex::new(&format!(r"(?:^|[^A-Za-z0-9_.~$}}>\]*/-])/(?:{tops})/")).expect("the pattern is a constant")
});

static UNFINISHED_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")].join("|");
    Regex::new(&format!(r"\b(?:{words})\b")).expect("the pattern is a constant")
});

static EVERY_COLUMN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:select|returning)\s+(?:\w+\.)?\*").expect("the pattern is a constant"));

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files.iter().flat_map(|file| [length(file), patterns(file), sql(file)].concat()).collect()
}

fn length(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= MAX_LINES {
        return Vec::new();
    }
    let advice = format!("{lines} lines are more than {MAX_LINES}: split it by what it holds");
    vec![Finding { file: file.path.clone(), line: MAX_LINES + 1, rule: LENGTH, advice }]
}

fn patterns(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        let mut push = |rule, advice: &str| {
            findings.push(Finding { file: file.path.clone(), line, rule, advice: advice.to_owned() });
        };
        if MACHINE_PATHS.is_match(text) {
            push(MACHINE_PATH, "this path exists on one machine only: find it at run time or make it a setting");
        }
        if UNFINISHED_WORDS.is_match(text) {
            push(UNFINISHED, "do it now, or write an issue and say here what holds until then");
        }
    }
    findings
}

/// In Rust only strings can be SQL; elsewhere everything is looked at in `.sql` files alone.
fn sql(file: &SourceFile) -> Vec<Finding> {
    let advice = "list the columns: a column that is added later must not change what this returns";
    let finding = |line| Finding { file: file.path.clone(), line, rule: LISTED_COLUMNS, advice: advice.to_owned() };
    let found = |text: &str, first: usize| -> Vec<Finding> {
        EVERY_COLUMN.find_iter(text).map(|found| finding(first + line_of(text, found.start()) - 1)).collect()
    };
    if file.has_extension("sql") {
        return found(&file.text, 1);
    }
    if !file.is_rust() {
        return Vec::new();
    }
    let strings = tokens(&file.text).into_iter().filter_map(|token| match token.kind {
        Kind::Text(text) => Some(found(&text, token.line)),
        _ => None,
    });
    strings.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::sources::file;
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(&[file(path, text)]).into_iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    #[test]
    fn a_rust_file_of_more_than_the_limit_is_found() {
        assert_eq!(found("a.rs", &"\n".repeat(MAX_LINES)), []);
        assert_eq!(found("a.rs", &"\n".repeat(MAX_LINES + 1)), [(MAX_LINES + 1, LENGTH)]);
        assert_eq!(found("README.md", &"\n".repeat(MAX_LINES + 1)), []);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_part_of_another_path_is_not() {
        for top in ["root", "home", "work", "Users"] {
            assert_eq!(found("run.sh", &format!("a\ncd /{top}/x")), [(2, MACHINE_PATH)]);
            assert_eq!(found("run.rs", &format!("\"/{top}/x\"")), [(1, MACHINE_PATH)]);
            assert_eq!(found("run.sh", &format!("cd target/{top}/x; cd $DIR/{top}/x")), []);
        }
        assert_eq!(found("run.sh", "cd /usr/lib/postgresql"), []);
    }

    #[test]
    fn words_for_unfinished_work_are_found_in_any_file() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            assert_eq!(found("README.md", &format!("\n{word}: more")), [(2, UNFINISHED)]);
            assert_eq!(found("a.rs", &format!("// {word}")), [(1, UNFINISHED)]);
        }
        assert_eq!(found("a.rs", "// mastodons, todos"), []);
    }

    #[test]
    fn sql_that_takes_every_column_is_found() {
        let every = concat!("select", " *");
        assert_eq!(found("a.sql", &format!("-- x\n{every} from t;")), [(2, LISTED_COLUMNS)]);
        assert_eq!(found("a.rs", &format!("q(\"\n  {every}\n  from t\")")), [(2, LISTED_COLUMNS)]);
        assert_eq!(found("a.rs", &format!("q(r\"insert … {} t.*\")", "RETURNING")), [(1, LISTED_COLUMNS)]);
        assert_eq!(found("a.rs", "q(\"select count(*), a * b from t\")"), []);
        assert_eq!(found("a.rs", &format!("// {every} is bad")), []);
    }
}
