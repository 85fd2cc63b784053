//! What a collector is told of a request.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::config::PeerConfig;
use crate::observe::journal::{Record, ServedBy};
use crate::offer::Way;
use crate::trace_context::Span;
use crate::version;

/// The peer itself, by the names of the semantic conventions.
pub(super) fn resource(config: &PeerConfig) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "ops-proxy"),
            KeyValue::new("service.version", version::NUMBER),
            KeyValue::new("service.instance.id", config.peer_id.to_string()),
            KeyValue::new("k8s.node.name", config.node.clone()),
            KeyValue::new("k8s.pod.name", config.pod.clone()),
        ])
        .build()
}

/// The span of a request that has ended, `now`.
pub(super) fn span_data(span: &Span, request: &Record, now: SystemTime) -> SpanData {
    let known = &request.known;
    let end = request.end();
    let began = now - end.map_or_else(|| request.age(), |end| end.after);
    let failure = end.and_then(|end| end.failure);
    let mut events = SpanEvents::default();
    let moments = [("connected", request.connected()), ("first byte", request.first_byte())];
    for (name, after) in moments {
        let Some(after) = after else { continue };
        events.events.push(Event::new(name, began + after, Vec::new(), 0));
    }
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.context.trace),
            SpanId::from_bytes(span.context.span),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: SpanKind::Server,
        name: format!("{} {}", known.way, known.name).into(),
        start_time: began,
        end_time: began + end.map_or(Duration::ZERO, |end| end.after),
        attributes: attributes(request, failure.map(|failure| failure.reason)),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: failure.map_or(Status::Unset, |failure| Status::error(failure.reason)),
        instrumentation_scope: InstrumentationScope::builder("ops-proxy").build(),
    }
}

fn attributes(request: &Record, failure: Option<&'static str>) -> Vec<KeyValue> {
    let known = &request.known;
    let provider = match request.by() {
        ServedBy::Local => "local".to_owned(),
        ServedBy::Peer(peer) => peer.to_string(),
        ServedBy::Upstream => "upstream".to_owned(),
    };
    let mut attributes = vec![
        KeyValue::new("ops_proxy.id", request.id().to_string()),
        KeyValue::new("ops_proxy.kind", known.kind.as_str()),
        KeyValue::new("ops_proxy.name", known.name.to_string()),
        KeyValue::new("ops_proxy.way", known.way.as_str()),
        KeyValue::new("ops_proxy.provider", provider),
        KeyValue::new("ops_proxy.bytes_sent", number(request.sent())),
        KeyValue::new("ops_proxy.bytes_received", number(request.received())),
        KeyValue::new("client.address", known.client.ip().to_string()),
        KeyValue::new("client.port", i64::from(known.client.port())),
    ];
    if known.way == Way::Http && request.exchanges() > 0 {
        attributes.push(KeyValue::new("ops_proxy.http_requests", number(request.exchanges())));
    }
    let status = request.status().map(|status| ("http.response.status_code", i64::from(status)));
    attributes.extend(status.map(|(key, status)| KeyValue::new(key, status)));
    attributes.extend(failure.map(|reason| KeyValue::new("error.type", reason)));
    attributes
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
