//! Log lines as JSON objects, one a line.
//!
//! The subscriber's own JSON format keeps a span's fields as text that it parses anew for every line and every field that
//! is recorded later; with a line for each call that was a quarter of what a command cost this process. Here fields
//! are kept as they will be written. The shape of a line is the same:
//!
//! ```json
//! {"timestamp":"…","level":"INFO","message":"…","some_field":3,"target":"…","spans":[{"name":"call","trace_id":"…"}]}
//! ```

use std::fmt::{self, Debug};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The fields of a span, each as `,"name":value`.
#[derive(Debug, Default)]
pub struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members::default();
        fields.record(&mut members);
        writer.write_str(members.text()?)
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        // The default puts a space between what is there and what comes.
        self.format_fields(current.as_writer(), fields)
    }
}

/// A whole line.
#[derive(Debug, Default)]
pub struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Members::default();
        event.record(&mut members);
        members.add("target", event.metadata().target());

        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"{}", event.metadata().level(), members.text()?)?;
        let mut before = ",\"spans\":[";
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(writer, "{before}{{\"name\":\"{}\"", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonFields>>() {
                writer.write_str(&fields.fields)?;
            }
            writer.write_char('}')?;
            before = ",";
        }
        writer.write_str(if before == "," { "]}\n" } else { "}\n" })
    }
}

/// Members of an object, each with a comma before it.
#[derive(Default)]
struct Members {
    json: Vec<u8>,
}

impl Members {
    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.json.push(b',');
        self.write(name);
        self.json.push(b':');
        self.write(value);
    }

    fn write<T: Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.json, value).expect("text and numbers are JSON, and memory takes them all");
    }

    fn text(&self) -> Result<&str, fmt::Error> {
        std::str::from_utf8(&self.json).map_err(|_| fmt::Error)
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing_subscriber::fmt::layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::written::Written;

    fn logged(say: impl FnOnce()) -> Value {
        let written = Written::default();
        let writer = written.clone();
        let layer = layer().fmt_fields(JsonFields).event_format(JsonLines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = written.text();
        assert!(text.ends_with("}\n"), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_is_one_object_with_the_fields_of_the_event_and_of_each_span() {
        let line = logged(|| {
            let call = tracing::info_span!("call", id = "a \"quoted\"\nid", later = tracing::field::Empty);
            call.record("later", tracing::field::display(7));
            let inner = tracing::info_span!(parent: &call, "inner");
            inner.in_scope(|| tracing::warn!(rows = 3, share = 0.5, whole = false, cause = Some("c"), "done {}", 1));
        });
        assert_eq!(line["spans"], json!([{"name": "call", "id": "a \"quoted\"\nid", "later": "7"}, {"name": "inner"}]));
        assert_eq!((&line["level"], &line["message"], &line["rows"]), (&json!("WARN"), &json!("done 1"), &json!(3)));
        assert_eq!((&line["share"], &line["whole"], &line["cause"]), (&json!(0.5), &json!(false), &json!("c")));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        assert_eq!(line["target"], json!(module_path!()));
    }

    #[test]
    fn outside_of_any_span_there_is_none_in_the_line() {
        let line = logged(|| tracing::info!("alone"));
        assert_eq!((&line["message"], line.get("spans")), (&json!("alone"), None));
    }

    #[test]
    fn a_number_that_json_does_not_know_is_null() {
        let line = logged(|| tracing::info!(share = f64::NAN, rows = 3, "measured"));
        assert_eq!((&line["share"], &line["rows"]), (&Value::Null, &json!(3)));
    }
}
