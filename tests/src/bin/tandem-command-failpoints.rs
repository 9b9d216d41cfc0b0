//! `tandem-command serve` as the tests of failpoints run it. Built for tests, it has the feature `failpoints`, which the
//! real program never has; built otherwise, it is the real program by another name.

use std::{error::Error, process::ExitCode};

use clap::Parser as _;
use tandem_chassis::{listeners::Listeners, process, shutdown::Shutdown};
use tandem_command::{
    serve,
    settings::{Action, Arguments, ServeSettings},
};

#[tokio::main]
async fn main() -> ExitCode {
    let Action::Serve(settings) = Arguments::parse().action else {
        eprintln!("this program only serves; migrate with tandem-command");
        return ExitCode::FAILURE;
    };
    process::run("tandem-command", &settings.log, run(&settings)).await
}

async fn run(settings: &ServeSettings) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::on_signal()?;
    let listeners = Listeners::bind(settings.listen, settings.metrics_listen).await?;
    let (grpc, metrics) = listeners.addresses()?;
    tracing::info!(%grpc, %metrics, "listening");
    Ok(serve(settings, listeners, shutdown).await?)
}
