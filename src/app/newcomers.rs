//! Connections without a request yet. Their number is limited: the one that has waited longest is closed for the next,
//! so that connections which never send a request keep nobody out, not even at their own address.

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
    /// In the order of arrival; each with its own file descriptor, through which it can be closed.
    files: BTreeMap<u64, OwnedFd>,
    next: u64,
}

/// One connection, for its lifetime.
pub struct Newcomer {
    all: Arc<Newcomers>,
    number: u64,
    has_asked: AtomicBool,
}

impl Newcomers {
    pub fn new(waiting_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), waiting_max })
    }

    /// Records a new connection, and closes the oldest one without a request if there are too many.
    pub fn add(self: &Arc<Self>, stream: impl AsFd) -> Newcomer {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        if waiting.files.len() >= self.waiting_max
            && let Some((_, oldest)) = waiting.files.pop_first()
        {
            // Its worker sees the end and closes it, unless it is closed already.
            let _ = shutdown(&oldest, Shutdown::Both);
        }
        // Without a free file descriptor it cannot be closed for others; the limit on connections still applies.
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
        // The connection ends only when this file descriptor is closed too.
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
