//! The command line of `cargo xtask tidy`.

use std::process::ExitCode;

use super::finding::Finding;
use super::sources::SourceFile;
use super::{imports, manifests, names, settings, texts};

/// Checks the house rules that a program can check: names, imports, manifests, lengths, settings.
///
/// Prints one line for each finding. Exit codes: 0 tidy, 1 not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workspace to look at [default: this one].
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<std::path::PathBuf>,
}

/// Runs the command and prints what it found.
///
/// # Errors
///
/// A file can't be read.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = args.root.clone().unwrap_or_else(crate::places::workspace_root);
    let files = SourceFile::of_project(&root)?;
    let findings = findings(&files);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} findings in {} files", findings.len(), files.len());
    Ok(ExitCode::FAILURE)
}

/// What all rules find in these files, in the order of files and lines.
pub fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let rules = [imports::check, manifests::check, names::check, settings::check, texts::check];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(files)).collect();
    findings.sort();
    findings
}
