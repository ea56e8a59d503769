//! How often somebody may do something in a minute: a table of counts that strangers cannot make grow.
//!
//! What it does *not* do: know what is counted, or remember anything over a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Those who are counted at once; while all of them are active, nobody else may.
const COUNTED_MAX: usize = 4096;

/// An allowance for each name, made anew a minute after its first use.
#[derive(Debug)]
pub(super) struct Budget {
    /// How often in a minute.
    most: u32,
    counts: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Budget {
    /// A budget of `most` times a minute for each name.
    pub(super) fn new(most: u32) -> Budget {
        Budget {
            most,
            counts: Mutex::default(),
        }
    }

    /// Whether `who` may once more now; it is counted.
    pub(super) fn take(&self, who: &str) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= COUNTED_MAX {
            counts.retain(|_, (since, _)| since.elapsed() < MINUTE);
        }
        if counts.len() >= COUNTED_MAX {
            return false;
        }
        let (since, count) = counts.entry(who.to_owned()).or_insert((Instant::now(), 0));
        if since.elapsed() >= MINUTE {
            (*since, *count) = (Instant::now(), 0);
        }
        *count = count.saturating_add(1);
        *count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_used_it_up_is_stopped_and_nobody_else() {
        let budget = Budget::new(3);
        let taken = |who: &str| (0..5).filter(|_| budget.take(who)).count();
        assert_eq!((taken("one"), taken("other")), (3, 3));
        assert!(!budget.take("one"));
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let budget = Budget::new(1);
        let taken = (0..2 * COUNTED_MAX).filter(|n| budget.take(&n.to_string()));
        assert_eq!(taken.count(), COUNTED_MAX);
        assert!(budget.counts.lock().unwrap().len() <= COUNTED_MAX);
    }
}
