//! How many sessions at once: in all, and from one source (an address, or a local user id).
//!
//! A permit is held for the life of a session and given back when it is dropped. What it does not do: refuse anybody
//! (the listener does, in the peer's language).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
/// Counts of open sessions.
#[derive(Debug)]
pub(crate) struct Caps<K> {
    counts: Mutex<(usize, HashMap<K, usize>)>,
}

/// One session's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Permit<K: Hash + Eq> {
    caps: Arc<Caps<K>>,
    /// Taken out when the place is given back.
    source: Option<K>,
}

impl<K> Default for Caps<K> {
    fn default() -> Caps<K> {
        Caps {
            counts: Mutex::default(),
        }
    }
}

impl<K: Hash + Eq + Clone> Caps<K> {
    /// A place for a session from `source`, or `None` when `most` in all or `most_each` from there are taken.
    pub(crate) fn take(self: &Arc<Self>, source: K, most: usize, most_each: usize) -> Option<Permit<K>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_source) = &mut *counts;
        if *all >= most || by_source.get(&source).is_some_and(|&here| here >= most_each) {
            return None;
        }
        *by_source.entry(source.clone()).or_insert(0) += 1;
        *all += 1;
        Some(Permit {
            caps: Arc::clone(self),
            source: Some(source),
        })
    }

    /// Sessions open now.
    pub(crate) fn open(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.caps.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_source) = &mut *counts;
        *all = all.saturating_sub(1);
        if let Some(Entry::Occupied(mut here)) = self.source.take().map(|source| by_source.entry(source)) {
            *here.get_mut() = here.get().saturating_sub(1);
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_frees_its_place_and_leaves_nothing_behind() {
        let caps = Arc::new(Caps::default());
        let from = str::to_owned;
        let first = caps.take(from("192.0.2.1"), 3, 2).unwrap();
        let _second = caps.take(from("192.0.2.1"), 3, 2).unwrap();
        assert!(
            caps.take(from("192.0.2.1"), 3, 2).is_none(),
            "two from one address"
        );
        let third = caps.take(from("192.0.2.2"), 3, 2).unwrap();
        assert!(caps.take(from("192.0.2.3"), 3, 2).is_none(), "three in all");
        drop((first, third));
        assert_eq!(caps.open(), 1);
        assert_eq!(caps.counts.lock().unwrap().1.len(), 1);
    }
}
