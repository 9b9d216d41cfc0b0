//! A service's process, from its first log line to its exit code.

use std::{error::Error, process::ExitCode};

use crate::{settings::LogSettings, status::chain_of, telemetry};

/// Runs `action` with logs and traces on, says what went wrong, and flushes traces before the end.
pub async fn run(
    service: &'static str,
    log: &LogSettings,
    action: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> ExitCode {
    let telemetry = match telemetry::init(service, log) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("{service}: {}", chain_of(&error));
            return ExitCode::FAILURE;
        }
    };
    let code = match action.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain_of(error.as_ref()), "{service} failed");
            ExitCode::FAILURE
        }
    };
    telemetry.shutdown().await;
    code
}
