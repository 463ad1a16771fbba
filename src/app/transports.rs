//! The HTTP clients of the process's threads.

use crate::{
    config::Config,
    providers::{
        guard::AllowedNets,
        resolver::Names,
        transport::{NoClient, Transport},
    },
};
use std::{sync::Arc, time::Duration};

/// Makes the HTTP clients of one thread: pools of connections are not shared between threads.
#[derive(Clone)]
pub(super) struct Transports {
    connect: Duration,
    allowed: Arc<AllowedNets>,
    names: Arc<Names>,
}

impl Transports {
    pub fn new(config: &Config, names: Arc<Names>) -> Self {
        let allowed = Arc::new(AllowedNets(config.allow_private_nets.clone()));
        Self { connect: config.deadlines.connect, allowed, names }
    }

    pub fn connect(&self) -> Result<Transport, NoClient> {
        Transport::new(self.connect, self.allowed.clone(), self.names.clone())
    }
}
