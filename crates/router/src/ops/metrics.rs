//! Counters of the router, and their text for `GET /metrics` (OpenMetrics, which Prometheus reads).

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Beginning of the names of all metrics.
const PREFIX: &str = "p2p_router";

/// Adds one to a gauge, until this is dropped, however its task ends.
#[derive(Debug)]
pub(crate) struct GaugeGuard(Gauge);

impl GaugeGuard {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counters and gauges. No label comes from outside, so that their number is bounded.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub links: Gauge,
    pub service_ports: Gauge,
    pub open_runs: Gauge,
    pub consoles: Gauge,
    pub viewers: Gauge,
    pub pictures: Counter,
    pub answers: Family<StatusLabel, Counter>,
    pub link_ups: Counter,
    pub link_takeovers: Counter,
    pub link_refusals: Counter,
    pub strangers_sent_away: Counter,
    pub wrong_keys: Counter,
    pub over_quota: Counter,
    pub output_bytes: Counter,
    link_seconds: Histogram,
    exec_seconds: Histogram,
    registry: Mutex<Registry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    status: u16,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = Registry::default();
        let to = all.sub_registry_with_prefix(PREFIX);
        Self {
            links: metric(to, "links", "Links that are up"),
            service_ports: metric(to, "service_ports", "Service ports that are open"),
            open_runs: metric(to, "open_runs", "Runs that are waited for"),
            consoles: metric(to, "consoles", "Consoles that are connected"),
            viewers: metric(to, "viewers", "Viewers of cameras"),
            pictures: metric(to, "pictures", "Pictures that came from cameras"),
            answers: metric(
                to,
                "answers",
                "HTTP answers on service ports; one to a request that another router passed on counts at both",
            ),
            link_ups: metric(to, "link_ups", "Links that came up"),
            link_takeovers: metric(to, "link_takeovers", "Links that replaced another"),
            link_refusals: metric(to, "link_refusals", "Links that were refused"),
            strangers_sent_away: metric(
                to,
                "strangers_sent_away",
                "Callers without a key that were disconnected to let another in",
            ),
            wrong_keys: metric(to, "wrong_keys", "Wrong keys"),
            over_quota: metric(
                to,
                "over_quota",
                "Consoles, viewers, runs and requests beyond what one key may have",
            ),
            output_bytes: {
                let bytes = Counter::default();
                to.register_with_unit("output", "Output of commands", Unit::Bytes, bytes.clone());
                bytes
            },
            link_seconds: seconds(
                to,
                "run_link",
                "Part of a run's time spent on the link and in queues",
            ),
            exec_seconds: seconds(to, "run_exec", "Part of a run's time spent in its process"),
            registry: Mutex::new(all),
        }
    }

    /// Adds a metric of a part that not every router has.
    pub(crate) fn add<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        let mut all = self.registry.lock();
        metric(all.sub_registry_with_prefix(PREFIX), name, help)
    }

    pub(crate) fn answered(&self, status: u16) {
        self.answers.get_or_create(&StatusLabel { status }).inc();
    }

    /// Records the times of a run that has ended.
    pub(crate) fn ran(&self, link: Duration, exec: Duration) {
        self.link_seconds.observe(link.as_secs_f64());
        self.exec_seconds.observe(exec.as_secs_f64());
    }

    pub(crate) fn text(&self) -> String {
        let registry = self.registry.lock();
        let mut text = String::new();
        // Writing to a String doesn't fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

fn metric<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn seconds(to: &mut Registry, name: &str, help: &str) -> Histogram {
    // From a tenth of a millisecond to some 26 s, doubling.
    let metric = Histogram::new(exponential_buckets(1e-4, 2.0, 19));
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}
