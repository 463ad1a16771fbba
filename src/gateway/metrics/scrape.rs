//! Values that other parts of the process keep. They are copied at each scrape and cost nothing between scrapes.

use crate::gateway::Gateway;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

#[derive(Clone, Hash, PartialEq, Eq, Debug, EncodeLabelSet)]
struct ConnectionLabels {
    purpose: &'static str,
    state: &'static str,
}

type Level = Gauge<u64, AtomicU64>;

/// The copies.
#[derive(Default)]
pub(super) struct Scraped {
    records_unwritten: Level,
    records_unwritten_bytes: Level,
    records_stalled: Level,
    records_set_aside: Counter,
    records_shed: Counter,
    settles_unwritten: Level,
    holds_waiting: Level,
    lease_age: Gauge<f64, AtomicU64>,
    ready: Level,
    catalog_age: Gauge<i64>,
    traces_lost: Counter,
    shared_used: Family<PoolLabels, Level>,
    shared_refused: Family<PoolLabels, Counter>,
    connections: Family<ConnectionLabels, Level>,
    connections_max: Family<PoolLabels, Level>,
}

impl Scraped {
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let mut level =
            |name: &str, help: &str, metric: &Level| registry.register(name, help, metric.clone());
        level("records_unwritten", "Usage rows and receipts not written yet", &all.records_unwritten);
        level("records_stalled", "1: usage records cannot be written", &all.records_stalled);
        level("settles_unwritten", "Charges and voids that are not durable yet", &all.settles_unwritten);
        level("holds_waiting", "Holds queued for the ledger", &all.holds_waiting);
        level("ready", "1: the process takes traffic, as /readyz says", &all.ready);
        let bytes = all.records_unwritten_bytes.clone();
        registry.register_with_unit("records_unwritten", "Memory of unwritten records", Unit::Bytes, bytes);
        let aside = "Usage records that the database refuses; given up";
        registry.register("records_set_aside", aside, all.records_set_aside.clone());
        let shed = "Receipts of refused requests not kept: the share of their organization was full";
        registry.register("records_shed", shed, all.records_shed.clone());
        let age = "Time since the lease was renewed; no requests are taken from 10 s on";
        registry.register_with_unit("lease_age", age, Unit::Seconds, all.lease_age.clone());
        let age = "Days since the built-in prices of the catalogue were read";
        registry.register("catalog_age_days", age, all.catalog_age.clone());
        let lost = "Requests whose spans could not be sent";
        registry.register("traces_lost", lost, all.traces_lost.clone());
        let used = "Units in use of what all organizations share";
        registry.register("shared_used", used, all.shared_used.clone());
        let refused = "Refusals for lack of units of what all organizations share";
        registry.register("shared_refused", refused, all.shared_refused.clone());
        let connections = "Database connections, by purpose and state";
        registry.register("database_connections", connections, all.connections.clone());
        let most = "Most database connections of each purpose";
        registry.register("database_connections_max", most, all.connections_max.clone());
        all
    }

    /// One series for each family, as after a scrape.
    #[cfg(test)]
    pub fn fill(&self) {
        let _ = self.shared_used.get_or_create(&PoolLabels { pool: "requests" });
        let _ = self.shared_refused.get_or_create(&PoolLabels { pool: "requests" });
        let _ = self.connections.get_or_create(&ConnectionLabels { purpose: "keys", state: "idle" });
        let _ = self.connections_max.get_or_create(&PoolLabels { pool: "keys" });
    }

    fn copy(&self, gateway: &Gateway) {
        let records = gateway.recorder.state();
        self.records_unwritten.set(units(records.records));
        self.records_unwritten_bytes.set(units(records.bytes));
        self.records_stalled.set(u64::from(records.stalled));
        self.records_set_aside.inner().store(records.set_aside, Ordering::Relaxed);
        self.records_shed.inner().store(records.shed, Ordering::Relaxed);
        self.settles_unwritten.set(units(gateway.ledger.unwritten()));
        self.holds_waiting.set(units(gateway.ledger.holds_waiting()));
        self.lease_age.set(gateway.lease.age(Instant::now()).as_secs_f64());
        self.ready.set(u64::from(gateway.problem().is_none()));
        let today = gateway.ambient.now().date();
        self.catalog_age.set(gateway.catalog.load().age_days(today).unwrap_or(-1));
        let lost = gateway.traces.as_ref().map_or(0, |traces| traces.lost());
        self.traces_lost.inner().store(lost, Ordering::Relaxed);
        for (pool, units) in gateway.shared.pools() {
            let labels = PoolLabels { pool };
            self.shared_used.get_or_create(&labels).set(units.used());
            self.shared_refused.get_or_create(&labels).inner().store(units.refused(), Ordering::Relaxed);
        }
        for (purpose, connections) in gateway.db.connections() {
            for (state, count) in [("idle", connections.idle), ("used", connections.used)] {
                self.connections.get_or_create(&ConnectionLabels { purpose, state }).set(count);
            }
            self.connections_max.get_or_create(&PoolLabels { pool: purpose }).set(connections.most);
        }
    }
}

fn units(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Gateway {
    /// All metrics of the process, in OpenMetrics text.
    pub fn exposition(&self) -> String {
        self.metrics.scraped.copy(self);
        self.metrics.exposition()
    }
}
