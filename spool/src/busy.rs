//! One at a time: transfers that are being committed, jobs that are being changed.
//!
//! What this file does *not* know: what is done meanwhile.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::disk::lock;

/// Things that somebody is at work on: whoever comes for the same one waits.
#[derive(Debug)]
pub(crate) struct Busy<T> {
    busy: Mutex<HashSet<T>>,
    free: Condvar,
}

/// The right to work on some things; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Held<'a, T: Eq + Hash> {
    all: &'a Busy<T>,
    held: Vec<T>,
}

impl<T> Default for Busy<T> {
    fn default() -> Busy<T> {
        Busy {
            busy: Mutex::default(),
            free: Condvar::new(),
        }
    }
}

impl<T: Eq + Hash + Clone> Busy<T> {
    /// Waits until nobody is at work on any of these, and takes all of them at once.
    pub(crate) fn hold(&self, held: Vec<T>) -> Held<'_, T> {
        if !held.is_empty() {
            let mut busy = lock(&self.busy);
            while held.iter().any(|one| busy.contains(one)) {
                busy = self.free.wait(busy).unwrap_or_else(PoisonError::into_inner);
            }
            busy.extend(held.iter().cloned());
        }
        Held { all: self, held }
    }
}

impl<T: Eq + Hash> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            let mut busy = lock(&self.all.busy);
            self.held.iter().for_each(|one| {
                busy.remove(one);
            });
            drop(busy);
            self.all.free.notify_all();
        }
    }
}
