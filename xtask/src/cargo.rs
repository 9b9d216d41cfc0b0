//! Cargo as a child of this program, as the user would call it in a shell.
//!
//! The cargo that runs us (`cargo run`, `cargo test`) tells us of our package in `CARGO_MANIFEST_DIR` and many
//! more variables. Build scripts ask cargo to run them again when some of these change, so a cargo that inherited
//! them would build ring and what stands on it anew, and so would the user's next one, which has none.

use std::env;
use std::process::Command;

/// What cargo sets for the programs, tests and build scripts that it runs. What a user sets (`CARGO_HOME`,
/// `CARGO_TARGET_DIR`, `CARGO_BUILD_…`, `CARGO_TERM_…`, `CARGO_NET_…`, flags for rustc) is not among it.
const SET_BY_CARGO: [&str; 10] = [
    "CARGO",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// The same, a variable for each field of the manifest, binary, condition and feature.
const SET_BY_CARGO_PREFIXES: [&str; 4] = ["CARGO_BIN_EXE_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_"];

/// Cargo itself, the one that runs us, else the one on the `PATH`; without what it has set for us.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_caller(&mut command);
    command
}

/// Takes what cargo has set for us out of a command's environment: for a shell that will call cargo.
pub fn forget_caller(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo) {
            command.env_remove(&name);
        }
    }
}

fn is_set_by_cargo(name: &str) -> bool {
    SET_BY_CARGO.contains(&name) || SET_BY_CARGO_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_cargo_tells_a_test_reaches_the_inner_cargo() {
        let removed: Vec<_> = command().get_envs().map(|(name, value)| (name.to_owned(), value.is_none())).collect();
        for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"] {
            assert!(env::var_os(name).is_some(), "cargo sets {name} for its tests");
            assert!(removed.contains(&(name.into(), true)), "{name} is inherited");
        }
    }

    #[test]
    fn what_a_user_sets_is_kept() {
        let users = [
            "CARGO_BUILD_JOBS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_HOME",
            "CARGO_INCREMENTAL",
            "CARGO_NET_OFFLINE",
            "CARGO_PROFILE_DEV_DEBUG",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CARGO_TERM_COLOR",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ];
        assert!(!users.into_iter().any(is_set_by_cargo));
    }
}
