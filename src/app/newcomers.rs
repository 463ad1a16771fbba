//! Connections whose client has sent no request yet. There may be only so many: the one that has waited longest ends for
//! the next, so that connections which never ask for anything keep nobody out, not even at their own address.

use rustix::{
    fd::{AsFd, OwnedFd},
    net::{Shutdown, shutdown},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The connections without a request of one process.
pub struct Newcomers {
    waiting: Mutex<Waiting>,
    waiting_max: usize,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which they came; each with a file of its own by which it can be ended.
    files: BTreeMap<u64, OwnedFd>,
    next: u64,
}

/// One connection, for as long as it lasts.
pub struct Newcomer {
    all: Arc<Newcomers>,
    number: u64,
    has_asked: AtomicBool,
}

impl Newcomers {
    pub fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), waiting_max })
    }

    /// Notes a new connection, and ends the oldest without a request where there are too many.
    pub fn add(self: &Arc<Self>, stream: impl AsFd) -> Newcomer {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        if waiting.files.len() >= self.waiting_max
            && let Some((_, oldest)) = waiting.files.pop_first()
        {
            // Its worker sees the end and closes it. It may have closed already.
            let _ = shutdown(&oldest, Shutdown::Both);
        }
        // Without a file left it is not ended for others; the limit on connections holds all the same.
        if let Ok(file) = stream.as_fd().try_clone_to_owned() {
            waiting.files.insert(number, file);
        }
        Newcomer { all: self.clone(), number, has_asked: AtomicBool::new(false) }
    }
}

impl Newcomer {
    /// It has sent a request.
    pub fn note_request(&self) {
        if !self.has_asked.swap(true, Ordering::Relaxed) {
            self.all.waiting.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&self.number);
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        // The connection ends only when this file of it is closed as well.
        self.note_request();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    #[test]
    fn the_oldest_connection_without_a_request_ends_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let newcomers = Newcomers::new(2);
        let connections: Vec<_> = (0..4).map(|_| connect()).collect();
        let mut noted = Vec::new();
        for (at, (_, server)) in connections.iter().enumerate() {
            noted.push(newcomers.add(server));
            if at == 0 {
                noted[0].note_request();
            }
        }
        let has_ended = |(client, _): &(TcpStream, TcpStream)| {
            let mut client = client;
            matches!(client.read(&mut [0]), Ok(0))
        };
        let ended: Vec<bool> = connections.iter().map(has_ended).collect();
        assert_eq!(ended, [false, true, false, false]);
        drop(noted);
        assert!(newcomers.waiting.lock().unwrap().files.is_empty());
    }
}
