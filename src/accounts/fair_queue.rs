//! A bounded queue between many callers and a few threads. Every lane has a share of the places, lanes are served in
//! turn, and a full queue drops the last item of its longest lane for a lane that has fewer: no lane can prevent
//! another from being served.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Why an item was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The lane's own share is used up.
    Share,
    /// Every place is taken, by lanes that are not longer than this one.
    Full,
}

/// The queue.
pub struct FairQueue<L, T> {
    lanes: Mutex<Lanes<L, T>>,
    ready: Condvar,
    share_max: usize,
    places_max: usize,
}

struct Lanes<L, T> {
    /// No lane is empty.
    items: HashMap<L, VecDeque<T>>,
    /// Every lane once, the next one first.
    turns: VecDeque<L>,
    waiting: usize,
    closed: bool,
}

impl<L: Copy + Eq + Hash, T> FairQueue<L, T> {
    pub fn new(places_max: usize, share_max: usize) -> Self {
        let lanes = Lanes { items: HashMap::new(), turns: VecDeque::new(), waiting: 0, closed: false };
        Self { lanes: Mutex::new(lanes), ready: Condvar::new(), share_max, places_max }
    }

    /// Appends an item to a lane. An item that is dropped for it is lost.
    pub fn push(&self, lane: L, item: T) -> Result<(), Refused> {
        let mut lanes = self.lock();
        let own = lanes.items.get(&lane).map_or(0, VecDeque::len);
        if own >= self.share_max {
            return Err(Refused::Share);
        }
        let given_up = match lanes.waiting >= self.places_max {
            true => Some(lanes.give_up(own).ok_or(Refused::Full)?),
            false => None,
        };
        lanes.append(lane, item);
        drop(lanes);
        drop(given_up);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut lanes = self.lock();
        loop {
            if lanes.closed {
                return None;
            }
            if let Some(item) = lanes.take_next() {
                return Some(item);
            }
            lanes = self.ready.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends every current and later wait in [`FairQueue::pop`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<L, T>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Copy + Eq + Hash, T> Lanes<L, T> {
    fn append(&mut self, lane: L, item: T) {
        let items = self.items.entry(lane).or_default();
        if items.is_empty() {
            self.turns.push_back(lane);
        }
        items.push_back(item);
        self.waiting += 1;
    }

    fn take_next(&mut self) -> Option<T> {
        let lane = self.turns.pop_front()?;
        let items = self.items.get_mut(&lane)?;
        let item = items.pop_front()?;
        self.waiting -= 1;
        if items.is_empty() {
            self.items.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        Some(item)
    }

    /// The last item of the longest lane, if that lane stays longer than one of `own` items and one more.
    fn give_up(&mut self, own: usize) -> Option<T> {
        let (_, items) = self.items.iter_mut().max_by_key(|(_, items)| items.len())?;
        if items.len() <= own + 1 {
            return None;
        }
        self.waiting -= 1;
        items.pop_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_turns_whatever_their_length() {
        let queue = FairQueue::new(100, 50);
        for item in 0..50 {
            queue.push("flood", item).unwrap();
        }
        queue.push("other", 100).unwrap();
        queue.push("third", 200).unwrap();
        assert_eq!([(); 4].map(|()| queue.pop().unwrap()), [0, 100, 200, 1]);
    }

    #[test]
    fn a_lane_has_a_share_and_a_full_queue_has_room_for_a_shorter_lane() {
        let queue = FairQueue::new(4, 3);
        for item in 0..3 {
            queue.push("a", item).unwrap();
        }
        assert_eq!(queue.push("a", 3), Err(Refused::Share));
        queue.push("b", 10).unwrap();
        // Full: the last of the longest lane goes.
        queue.push("c", 20).unwrap();
        queue.push("d", 30).unwrap();
        // Now every lane has one.
        assert_eq!(queue.push("e", 40), Err(Refused::Full));
        let served: Vec<i32> = (0..4).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(served, [0, 10, 20, 30]);
    }

    #[test]
    fn a_closed_queue_ends_those_who_wait() {
        let queue = std::sync::Arc::new(FairQueue::<u8, u8>::new(1, 1));
        let waiting = queue.clone();
        let thread = std::thread::spawn(move || waiting.pop());
        queue.close();
        assert_eq!(thread.join().unwrap(), None);
    }
}
