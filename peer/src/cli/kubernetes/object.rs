//! What of the objects of Kubernetes is read, as the API writes it in JSON. Source:
//! the API reference of `core/v1` Service and of `meta/v1` (ListMeta, WatchEvent, Status).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::config::Namespace;
use crate::limits::{KUBERNETES_ANNOTATION_BYTES, KUBERNETES_ANNOTATIONS};

/// What all annotations that are for this peer begin with.
pub(super) const PREFIX: &str = "ops-proxy.dev/";

/// Where a Service is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Its namespace.
    pub(super) namespace: Namespace,
    /// Its name within that.
    pub(super) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service, as far as a peer has to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotated {
    /// Where it is.
    pub(super) key: Key,
    /// When it was created: RFC 3339, in UTC and whole seconds, so that the order of the texts
    /// is that of the times.
    pub(super) created: String,
    /// The annotations that are for this peer, without [`PREFIX`].
    pub(super) annotations: BTreeMap<String, String>,
    /// What else it says.
    pub(super) spec: Spec,
}

/// The `spec` of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<String>,
    pub(super) ports: Vec<Port>,
}

/// One of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Port {
    pub(super) name: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) port: u16,
    #[serde(rename = "targetPort")]
    pub(super) target: Option<Target>,
}

/// The port of the pods behind it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Target {
    Number(u16),
    Name(String),
}

/// A Service as the API writes it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    creation_timestamp: Option<String>,
    #[serde(default)]
    resource_version: String,
    #[serde(default, deserialize_with = "ours")]
    annotations: BTreeMap<String, String>,
}

/// Those that are for this peer: of the others, some are as long as the Service itself.
fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let all = Option::<BTreeMap<String, String>>::deserialize(deserializer)?.unwrap_or_default();
    let ours = all.into_iter().filter_map(|(key, value)| {
        let key = key.strip_prefix(PREFIX)?.to_owned();
        match value.len() {
            0..=KUBERNETES_ANNOTATION_BYTES => Some((key, value)),
            // Cut short, it could mean something else; this means nothing.
            more => Some((key, format!("({more} bytes, more than {KUBERNETES_ANNOTATION_BYTES})"))),
        }
    });
    Ok(ours.take(KUBERNETES_ANNOTATIONS).collect())
}

impl Object {
    /// Its name within its namespace.
    pub(super) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The version of the whole collection that it came with.
    pub(super) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// What a peer has to do with it, in this namespace; nothing without an annotation that is
    /// for a peer.
    pub(super) fn annotated(self, namespace: &Namespace) -> Option<Annotated> {
        let Self { metadata, spec } = self;
        let Metadata { name, creation_timestamp, annotations, .. } = metadata;
        let key = Key { namespace: namespace.clone(), name };
        let created = creation_timestamp.unwrap_or_default();
        (!annotations.is_empty()).then_some(Annotated { key, created, annotations, spec })
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) metadata: ListMetadata,
    pub(super) items: Option<Vec<Object>>,
}

/// What is said about a page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMetadata {
    /// Where a watch goes on.
    pub(super) resource_version: String,
    /// Asks for the next page, if there is one.
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Event {
    Added(Object),
    Modified(Object),
    Deleted(Object),
    /// Nothing but a newer version.
    Bookmark(Bookmark),
    /// The watch is over.
    Error(Status),
}

/// An object of which only the version counts.
#[derive(Debug, Deserialize)]
pub(super) struct Bookmark {
    pub(super) metadata: ListMetadata,
}

/// What the API says when it refuses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_service_only_what_is_for_a_peer_is_kept() {
        let text = r#"{"type":"ADDED","object":{"kind":"Service","apiVersion":"v1","metadata":{
            "name":"web","namespace":"shop","uid":"1","resourceVersion":"7",
            "creationTimestamp":"2024-05-01T10:00:00Z","managedFields":[{"manager":"kubectl"}],
            "annotations":{"ops-proxy.dev/name":"app.example","kubectl.kubernetes.io/x":"{}"}},
            "spec":{"clusterIP":"10.0.0.1","type":"ClusterIP","selector":{"app":"web"},
            "ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":"web"},
            {"port":443,"targetPort":8443,"nodePort":30000}]},"status":{"loadBalancer":{}}}}"#;
        let Event::Added(object) = serde_json::from_str(text).unwrap() else { panic!("another") };
        assert_eq!((object.name(), object.version()), ("web", "7"));
        let service = object.annotated(&"shop".parse().unwrap()).unwrap();
        assert_eq!(service.key.to_string(), "shop/web");
        let ours: Vec<_> = service.annotations.iter().collect();
        assert_eq!(ours, [(&"name".to_owned(), &"app.example".to_owned())]);
        assert_eq!(service.spec.ports[0].target, Some(Target::Name("web".to_owned())));
        assert_eq!(service.spec.ports[1].target, Some(Target::Number(8443)));
    }

    #[test]
    fn what_has_no_annotation_for_a_peer_is_nobodys_business() {
        for annotations in ["", r#","annotations":null"#, r#","annotations":{"x/name":"a"}"#] {
            let text = format!(r#"{{"metadata":{{"name":"a"{annotations}}}}}"#);
            let object: Object = serde_json::from_str(&text).unwrap();
            assert_eq!(object.annotated(&"shop".parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn annotations_are_bounded_and_what_is_too_long_means_nothing() {
        let long = "a,".repeat(KUBERNETES_ANNOTATION_BYTES);
        let many: String = (0..99).map(|n| format!(r#","ops-proxy.dev/x{n}":"y""#)).collect();
        let text = format!(
            r#"{{"metadata":{{"name":"a","annotations":{{"ops-proxy.dev/name":"{long}"{many}}}}}}}"#
        );
        let object: Object = serde_json::from_str(&text).unwrap();
        let service = object.annotated(&"shop".parse().unwrap()).unwrap();
        assert_eq!(service.annotations.len(), KUBERNETES_ANNOTATIONS);
        assert!(service.annotations["name"].starts_with('('), "no reader takes that");
    }

    #[test]
    fn bookmarks_and_errors_are_told_apart() {
        let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Service","metadata":
            {"resourceVersion":"12","creationTimestamp":null}}}"#;
        let event: Event = serde_json::from_str(bookmark).unwrap();
        assert!(matches!(event, Event::Bookmark(one) if one.metadata.resource_version == "12"));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired",
            "message":"too old resource version: 1 (2)"}}"#;
        let event: Event = serde_json::from_str(gone).unwrap();
        assert!(matches!(event, Event::Error(Status { code: 410, .. })));
    }
}
