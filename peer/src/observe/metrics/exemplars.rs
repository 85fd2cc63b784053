//! Exemplars: of each bucket of a histogram, the last request that fell into it.

use std::sync::Mutex;
use std::time::Duration;

use super::reasons::Protocol;
use crate::names::ProxyId;

/// Upper bounds of all histograms' buckets, in seconds: from a loopback request to a
/// long download.
pub(super) const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0];

/// A request of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    /// By this it is known in logs.
    pub(super) id: ProxyId,
    /// What was measured of it, in seconds.
    pub(super) seconds: f64,
}

/// One for each bucket, the last for what is above all bounds.
pub(super) type OfBuckets = [Option<Exemplar>; BUCKETS.len() + 1];

/// Those of one histogram.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<OfBuckets>);

impl Exemplars {
    /// So much was measured of a request. One of two at the same time may be left out.
    pub(super) fn observe(&self, id: ProxyId, measured: Duration) {
        let seconds = measured.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Ok(mut buckets) = self.0.try_lock() {
            buckets[bucket] = Some(Exemplar { id, seconds });
        }
    }

    /// Those of this moment; none while a panic or another has the lock.
    pub(super) fn of_buckets(&self) -> OfBuckets {
        self.0.lock().map_or([None; BUCKETS.len() + 1], |buckets| *buckets)
    }
}

/// Those of all histograms.
#[derive(Debug, Default)]
pub(super) struct AllExemplars {
    /// In the order of [`Protocol::ALL`].
    pub(super) requests: [Exemplars; Protocol::ALL.len()],
    pub(super) http: Exemplars,
    pub(super) data_wait: Exemplars,
}

impl AllExemplars {
    /// Those of a histogram, by its family and the value of the label by which the family
    /// tells its histograms apart.
    pub(super) fn of(&self, family: &str, label: Option<&str>) -> Option<OfBuckets> {
        let exemplars = match family {
            "ops_proxy_request_duration_seconds" => {
                let is_it = |protocol: &Protocol| Some(protocol.as_str()) == label;
                &self.requests[Protocol::ALL.iter().position(is_it)?]
            }
            "ops_proxy_http_request_duration_seconds" => &self.http,
            "ops_proxy_data_wait_seconds" => &self.data_wait,
            _ => return None,
        };
        Some(exemplars.of_buckets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_knows_its_last_request() {
        let exemplars = AllExemplars::default();
        let id = |byte| ProxyId::from_random([byte; 16]);
        let wait = &exemplars.data_wait;
        for (byte, micros) in [(1, 1_000), (2, 999), (3, 1_001), (4, 400_000_000)] {
            wait.observe(id(byte), Duration::from_micros(micros));
        }
        let buckets = exemplars.of("ops_proxy_data_wait_seconds", None).unwrap();
        let ids: Vec<_> = buckets.iter().map(|one| one.map(|exemplar| exemplar.id)).collect();
        let mut wanted = vec![None; BUCKETS.len() + 1];
        (wanted[0], wanted[1], wanted[BUCKETS.len()]) = (Some(id(2)), Some(id(3)), Some(id(4)));
        assert_eq!(ids, wanted);
        exemplars.requests[1].observe(id(5), Duration::from_millis(3));
        let family = "ops_proxy_request_duration_seconds";
        let of = |protocol: Protocol| exemplars.of(family, Some(protocol.as_str())).unwrap();
        assert_eq!(of(Protocol::ALL[1])[2], Some(Exemplar { id: id(5), seconds: 0.003 }));
        assert_eq!(of(Protocol::ALL[0]), [None; BUCKETS.len() + 1]);
    }
}
