//! The HTTP clients of the process's threads.

use super::connections::{self, Outbound};
use crate::{
    config::Config,
    providers::{
        client::CustomerConnections,
        guard::AllowedNets,
        resolver::Names,
        transport::{Connecting, NoClient, Transport},
    },
};
use std::sync::Arc;

/// Creates the HTTP clients of one thread: connection pools are not shared between threads.
#[derive(Clone)]
pub(super) struct Transports {
    connecting: Connecting,
    allowed: Arc<AllowedNets>,
    names: Arc<Names>,
}

impl Transports {
    pub fn new(config: &Config, names: Arc<Names>) -> Self {
        let allowed = Arc::new(AllowedNets(config.allow_private_nets.clone()));
        let files = connections::files();
        let outbound = Outbound::of(files, config.database_connections_max, config.workers);
        let customers = CustomerConnections::new(outbound.customers, outbound.per_organization);
        let (within, idle_per_host_max) = (config.deadlines.connect, outbound.idle_per_host);
        Self { connecting: Connecting { within, idle_per_host_max, customers }, allowed, names }
    }

    pub fn connect(&self) -> Result<Transport, NoClient> {
        Transport::new(self.connecting.clone(), self.allowed.clone(), self.names.clone())
    }
}
