//! Counters of the router, and their text for `GET /metrics` (OpenMetrics, which Prometheus reads).

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        // From a tenth of a millisecond to some 26 s, doubling.
        let buckets = || prometheus_client::metrics::histogram::exponential_buckets(1e-4, 2.0, 19);
        let metrics = Self {
            links: Gauge::default(),
            service_ports: Gauge::default(),
            open_runs: Gauge::default(),
            consoles: Gauge::default(),
            viewers: Gauge::default(),
            pictures: Counter::default(),
            answers: Family::default(),
            link_ups: Counter::default(),
            link_takeovers: Counter::default(),
            link_refusals: Counter::default(),
            strangers_sent_away: Counter::default(),
            wrong_keys: Counter::default(),
            over_quota: Counter::default(),
            output_bytes: Counter::default(),
            link_seconds: Histogram::new(buckets()),
            exec_seconds: Histogram::new(buckets()),
            registry: Mutex::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut guard = self.registry.lock();
        let registry = guard.sub_registry_with_prefix("p2p_router");
        registry.register("links", "Links that are up", self.links.clone());
        registry.register(
            "service_ports",
            "Service ports that are open",
            self.service_ports.clone(),
        );
        registry.register(
            "open_runs",
            "Runs that are waited for",
            self.open_runs.clone(),
        );
        registry.register(
            "consoles",
            "Consoles that are connected",
            self.consoles.clone(),
        );
        registry.register("viewers", "Viewers of cameras", self.viewers.clone());
        registry.register(
            "pictures",
            "Pictures that came from cameras",
            self.pictures.clone(),
        );
        registry.register(
            "answers",
            "HTTP answers on service ports",
            self.answers.clone(),
        );
        registry.register("link_ups", "Links that came up", self.link_ups.clone());
        registry.register(
            "link_takeovers",
            "Links that replaced another",
            self.link_takeovers.clone(),
        );
        registry.register(
            "link_refusals",
            "Links that were refused",
            self.link_refusals.clone(),
        );
        registry.register(
            "strangers_sent_away",
            "Callers without a key that were disconnected to let another in",
            self.strangers_sent_away.clone(),
        );
        registry.register("wrong_keys", "Wrong keys", self.wrong_keys.clone());
        registry.register(
            "over_quota",
            "Consoles, viewers, runs and requests beyond what one key may have",
            self.over_quota.clone(),
        );
        registry.register_with_unit(
            "output",
            "Output of commands",
            Unit::Bytes,
            self.output_bytes.clone(),
        );
        let link = "Part of a run's time spent on the link and in queues";
        registry.register_with_unit("run_link", link, Unit::Seconds, self.link_seconds.clone());
        let exec = "Part of a run's time spent in its process";
        registry.register_with_unit("run_exec", exec, Unit::Seconds, self.exec_seconds.clone());
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
