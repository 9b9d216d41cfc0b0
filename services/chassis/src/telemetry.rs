//! Logs and traces: one subscriber for the process.
//!
//! Logs go to stderr, as text on a terminal and as JSON lines otherwise. The span of each call (see
//! [`crate::layers`]) gives every line inside it `trace_id` and `request_id`, and `command_id` where the message has
//! one. Traces leave over OTLP/gRPC when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the exporter reads the standard `OTEL_*`
//! variables by itself. W3C `traceparent` is honoured either way.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::json_lines::{JsonFields, JsonLines};
use crate::settings::{LogFormat, LogSettings};

/// The standard variable whose presence turns the export of traces on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long the last spans may take to leave: a collector that hangs must not hold the process.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Crates the exporter itself is made of. Tracing them would make each export cause the next.
const EXPORTER_CRATES: [&str; 5] = ["h2", "hyper", "hyper_util", "tonic", "tower"];

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// `TANDEM_LOG` is no filter.
    #[error("TANDEM_LOG {filter:?} is no log filter; write it as info,sqlx=warn")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The exporter of traces could not be built.
    #[error("cannot export traces to {ENDPOINT}")]
    Exporter(#[from] ExporterBuildError),
    /// Telemetry was set up before in this process.
    #[error("telemetry was set up twice in one process")]
    Twice(#[from] TryInitError),
}

/// Whether traces leave this process.
static EXPORTS_TRACES: AtomicBool = AtomicBool::new(false);

pub(crate) fn exports_traces() -> bool {
    EXPORTS_TRACES.load(Ordering::Relaxed)
}

/// Keeps the exporter of traces; shut it down last.
#[derive(Debug)]
#[must_use = "traces that are still buffered are lost unless the guard is shut down"]
pub struct TelemetryGuard {
    traces: Option<SdkTracerProvider>,
}

impl TelemetryGuard {
    /// Sends what is still buffered, within a few seconds.
    pub async fn shutdown(self) {
        let Some(traces) = self.traces else { return };
        let flush = move || traces.shutdown_with_timeout(FLUSH_LIMIT);
        // The provider blocks while its own thread sends.
        match tokio::task::spawn_blocking(flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not exported"),
            Err(error) => tracing::warn!(%error, "flushing the traces panicked"),
        }
    }
}

/// Sets up logs and traces for the process named `service`. Must be called inside a tokio runtime,
/// once.
///
/// # Errors
/// The filter does not parse, the exporter cannot be built, or this is the second call.
pub fn init(service: &'static str, settings: &LogSettings) -> Result<TelemetryGuard, TelemetryError> {
    // By target and level alone: EnvFilter, which knows spans too, looks at each span at each poll of a future in it.
    let filter = settings
        .filter
        .parse::<Targets>()
        .map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let traces = exporting_provider(service)?;
    let spans = traces.as_ref().map(|provider| {
        let exported = EXPORTER_CRATES
            .iter()
            .map(|name| (*name, LevelFilter::OFF))
            .collect::<Targets>()
            .with_default(LevelFilter::INFO);
        tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(exported)
    });
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(match terminal {
        true => LogFormat::Text,
        false => LogFormat::Json,
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(lines(format, terminal, io::stderr).with_filter(filter))
        .try_init()?;
    EXPORTS_TRACES.store(traces.is_some(), Ordering::Relaxed);
    Ok(TelemetryGuard { traces })
}

fn exporting_provider(service: &'static str) -> Result<Option<SdkTracerProvider>, ExporterBuildError> {
    if std::env::var_os(ENDPOINT).is_none_or(|endpoint| endpoint.is_empty()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let resource = Resource::builder().with_service_name(service).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok(Some(provider))
}

/// Log lines in one of the two formats, written with or without colours: what [`init`] puts on stderr.
pub fn lines<S, W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> fmt::MakeWriter<'writer> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().fmt_fields(JsonFields).event_format(JsonLines).with_writer(writer).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::written::Written;

    fn logged(format: LogFormat) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = lines(format, false, move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let call = tracing::info_span!("call", trace_id = "0af7", request_id = "r-1");
            let inner = tracing::info_span!(parent: &call, "inner");
            inner.in_scope(|| tracing::info!(rows = 3, "done"));
        });
        written.text()
    }

    #[test]
    fn lines_inside_a_call_carry_its_trace_and_request_id_in_both_formats() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = logged(format);
            for word in ["trace_id", "0af7", "request_id", "r-1", "rows", "done"] {
                assert!(line.contains(word), "{word} in {line}");
            }
        }
        assert!(logged(LogFormat::Json).starts_with('{'));
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused_by_name() {
        let settings = LogSettings { filter: "info,==".to_owned(), format: None };
        let error = init("test", &settings).unwrap_err();
        assert!(error.to_string().contains("TANDEM_LOG"), "{error}");
    }
}
