//! Counters and histograms under Traefik's names (`docs/content/observability/metrics/overview.md`), so that dashboards and
//! analyses written for Traefik work. `exported_service` is the label Traefik's `service` has after a scrape.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};
use tokio::time::Instant;

/// Traefik's default buckets, in seconds.
const BUCKETS: [f64; 4] = [0.1, 0.3, 1.2, 5.0];
/// Most combinations of labels; beyond it, new ones are not counted. Services times codes times methods stay far below.
const MAX_SERIES: usize = 20_000;

/// What a request is counted under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    pub(crate) cluster: String,
    pub(crate) service: String,
    pub(crate) method: &'static str,
    pub(crate) protocol: &'static str,
}

#[derive(Default)]
struct Series {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_s: f64,
}

/// All counters of a gateway.
#[derive(Default)]
pub(crate) struct Metrics {
    series: Mutex<BTreeMap<(Labels, u16), Series>>,
}

impl Metrics {
    /// Counts a request when the result is dropped, that is when its answer has been sent.
    pub(crate) fn start(self: &Arc<Metrics>, labels: Labels) -> Observation {
        let code = StatusCode::INTERNAL_SERVER_ERROR;
        Observation { metrics: self.clone(), labels, started: Instant::now(), code }
    }

    fn count(&self, labels: &Labels, code: u16, seconds: f64) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (labels.clone(), code);
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            return;
        }
        let entry = series.entry(key).or_default();
        entry.count += 1;
        entry.sum_s += seconds;
        for (bound, bucket) in BUCKETS.iter().zip(&mut entry.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
    }

    /// Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        out.push_str("# HELP traefik_service_requests_total How many HTTP requests processed on a service, partitioned by status code, protocol, and method.\n");
        out.push_str("# TYPE traefik_service_requests_total counter\n");
        // Writing to a String cannot fail.
        for ((labels, code), one) in series.iter() {
            let _ = writeln!(out, "traefik_service_requests_total{{{}}} {}", text(labels, *code), one.count);
        }
        out.push_str("# HELP traefik_service_request_duration_seconds How long it took to process the request on a service, partitioned by status code, protocol, and method.\n");
        out.push_str("# TYPE traefik_service_request_duration_seconds histogram\n");
        for ((labels, code), one) in series.iter() {
            let (name, labels) = ("traefik_service_request_duration_seconds", text(labels, *code));
            for (bound, count) in BUCKETS.iter().zip(one.buckets) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", one.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", one.sum_s);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", one.count);
        }
        out
    }
}

fn text(labels: &Labels, code: u16) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "cluster=\"{}\",code=\"{code}\",exported_service=\"{}\",method=\"{}\",protocol=\"{}\"",
        escape(&labels.cluster),
        escape(&labels.service),
        labels.method,
        labels.protocol
    )
}

/// A request that is being counted.
pub(crate) struct Observation {
    metrics: Arc<Metrics>,
    labels: Labels,
    started: Instant,
    pub(crate) code: StatusCode,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.metrics.count(&self.labels, self.code.as_u16(), self.started.elapsed().as_secs_f64());
    }
}

/// The method as a label; one that a client invents is not one.
pub(crate) fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("EXTENSION_METHOD")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_in_buckets() {
        let metrics = Metrics::default();
        let labels = Labels {
            cluster: "dev".into(),
            service: "n-s-80@kubernetes".into(),
            method: method_label(&Method::GET),
            protocol: "http",
        };
        for seconds in [0.05, 0.2, 9.0] {
            metrics.count(&labels, 200, seconds);
        }
        let text = metrics.render();
        let labels =
            r#"cluster="dev",code="200",exported_service="n-s-80@kubernetes",method="GET",protocol="http""#;
        let check =
            |line: String| assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        check(format!("traefik_service_requests_total{{{labels}}} 3"));
        for (bound, count) in [("0.1", 1), ("0.3", 2), ("1.2", 2), ("5", 2), ("+Inf", 3)] {
            check(format!(
                "traefik_service_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}"
            ));
        }
        check(format!("traefik_service_request_duration_seconds_sum{{{labels}}} 9.25"));
        assert_eq!(method_label(&Method::from_bytes(b"BREW").unwrap()), "EXTENSION_METHOD");
    }
}
