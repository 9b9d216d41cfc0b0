//! `cargo xtask seed --settings FILE`: what would be flags, from a file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

const COMMAND: &str = "seed";
const FLAG: &str = "--settings";

/// The command line with the flags of the settings file in front of its own, which win.
///
/// # Errors
///
/// The file can't be read, or holds what is no flag.
pub fn with_settings(arguments: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let Some(command) = arguments.iter().position(|argument| argument == COMMAND) else { return Ok(arguments) };
    let Some(file) = file(&arguments[command..]) else { return Ok(arguments) };
    let file = Path::new(&file);
    let text = fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    let flags = flags(&text).with_context(|| format!("{} is no file of settings", file.display()))?;
    let (front, own) = arguments.split_at(command + 1);
    Ok(front.iter().cloned().chain(flags).chain(own.iter().cloned()).collect())
}

fn file(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == FLAG {
            return arguments.next().cloned();
        }
        let value = argument.to_str().and_then(|argument| argument.strip_prefix(FLAG)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(OsStr::new(value).to_owned());
        }
    }
    None
}

/// `batch_size = 500` is `--batch-size=500`.
fn flags(text: &str) -> anyhow::Result<Vec<OsString>> {
    let settings: toml::Table = text.parse()?;
    settings
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Datetime(moment) => moment.to_string(),
                toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                    bail!("{name} must be a text, a whole number or a timestamp")
                }
            };
            Ok(format!("--{}={value}", name.replace('_', "-")).into())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let expanded = with_settings(arguments.iter().map(OsString::from).collect())?;
        Ok(expanded.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn what_a_file_says_stands_before_the_flags_that_win() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "batch_id = \"nightly\"\nbatch-size = 500\nuntil = 2026-11-20T00:00:00Z\n").unwrap();
        let path = file.path().to_str().unwrap();
        let joined = format!("--settings={path}");
        for given in [vec!["--settings", path], vec![&joined]] {
            let arguments = [&["xtask", "seed"], &*given, &["--via", "copy"]].concat();
            let found = expanded(&arguments).unwrap();
            let mut from_file = found[2..5].to_vec();
            from_file.sort();
            assert_eq!(from_file, ["--batch-id=nightly", "--batch-size=500", "--until=2026-11-20T00:00:00Z"]);
            assert_eq!(found[5..], arguments[2..]);
        }
    }

    #[test]
    fn other_commands_and_seeds_without_a_file_are_left_alone_and_a_wrong_file_is_named() {
        for arguments in [vec!["xtask", "seed", "--sales", "1"], vec!["xtask", "verify", "--settings", "none"]] {
            assert_eq!(expanded(&arguments).unwrap(), arguments);
        }
        let missing = expanded(&["xtask", "seed", "--settings", "/no/such/file"]).unwrap_err();
        assert!(missing.to_string().contains("/no/such/file"), "{missing}");
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["batch_size = 1.5", "[batch]\nsize = 1", "batch size"] {
            fs::write(file.path(), text).unwrap();
            assert!(expanded(&["xtask", "seed", "--settings", file.path().to_str().unwrap()]).is_err(), "{text}");
        }
    }
}
