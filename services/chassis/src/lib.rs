//! How a service process lives: settings, telemetry, the database pool, health, the layers every
//! call passes through, and an orderly end. Nothing here knows what the service sells.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`settings`] | the settings every service has in common, with their environment variables |
//! | [`telemetry`] | logs and traces: one subscriber for the process |
//! | [`metrics`] | the Prometheus recorder and the port it is scraped on |
//! | [`background`] | tasks that must live as long as the service |
//! | [`deadline`] | until when the caller waits; travels in the request's extensions |
//! | [`database`] | PostgreSQL transactions that survive a cancelled call |
//! | [`health`] | `grpc.health.v1`, fed by conditions such as "the database answers" |
//! | [`layers`] | what surrounds each call, outermost first |
//! | [`status`] | building a `tonic::Status` whose private cause is logged and never sent |
//! | [`migration`] | what both services' `migrate` commands do alike |
//! | [`listeners`] | the two ports of a service |
//! | [`process`] | from the first log line to the exit code |
//! | [`shutdown`] | the one signal that ends the process |
//! | [`reflection`] | the contract for clients that have no `.proto` files |
//! | [`server`] | serving until shutdown, then draining |
//!
//! A service sets `max_decoding_message_size(settings.max_message_bytes)` on each generated server
//! itself: tonic knows that limit only per service.

pub mod background;
pub mod database;
pub mod deadline;
pub mod health;
mod json_lines;
pub mod layers;
pub mod listeners;
pub mod metrics;
pub mod migration;
pub mod process;
pub mod reflection;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod status;
pub mod telemetry;
#[cfg(test)]
mod written;
