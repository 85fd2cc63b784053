//! Services that Kubernetes says are to be served: those of some namespaces with the annotation
//! `ops-proxy.dev/name`.
//!
//! `watch` follows what the API says, `claims` decides what of it is served, and `services` adds
//! that to the settings. The client is our own, and small: it lists and watches one kind of
//! object. Nothing here may change anything in the cluster.

mod annotations;
mod api;
mod claims;
mod cluster;
mod object;
mod services;
mod watch;

pub(super) use services::Services;
