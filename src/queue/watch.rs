//! The doorbell: says that something changed in the queue's directories or in the drop directory.
//!
//! A doorbell, not a ledger: events may be lost, doubled or late, and nothing depends on them but how soon something
//! happens. What they miss is found by looking at the directories again, on a timer and after an overflow.
//! What it does *not* do: read what it announces.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use uft_spool::SpoolId;

/// Events that may wait; more than that are replaced by one look at everything.
const BACKLOG: usize = 4096;

/// What rang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    /// The job file of this number came, went or changed.
    Job(SpoolId),
    /// A file came into the drop directory.
    Dropped,
    /// Something was missed: look at everything.
    Everything,
}

/// The doorbell; it rings as long as it is kept.
#[derive(Debug)]
pub(crate) struct Doorbell {
    rings: mpsc::Receiver<Ring>,
    missed: Arc<AtomicBool>,
    /// Ends with the value.
    _watcher: Option<RecommendedWatcher>,
}

impl Doorbell {
    /// Watches the directories of jobs, and the drop directory if there is one. When the system cannot watch, the bell
    /// never rings, and why is said.
    pub(crate) fn new(jobs: &[PathBuf], dropped: Option<&Path>) -> (Doorbell, Option<notify::Error>) {
        let (to, rings) = mpsc::channel(BACKLOG);
        let missed = Arc::new(AtomicBool::new(false));
        let drop_dir = dropped.map(Path::to_owned);
        let lost = Arc::clone(&missed);
        let watching = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
            for ring in heard(event, drop_dir.as_deref()) {
                if to.try_send(ring).is_err() {
                    lost.store(true, Ordering::Release);
                }
            }
        })
        .and_then(|mut watcher| {
            for dir in jobs.iter().map(PathBuf::as_path).chain(dropped) {
                watcher.watch(dir, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let (watcher, error) = match watching {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        let doorbell = Doorbell {
            rings,
            missed,
            _watcher: watcher,
        };
        (doorbell, error)
    }

    /// Waits for the next ring; for ever when nothing is watched.
    pub(crate) async fn ring(&mut self) -> Ring {
        if self.missed.swap(false, Ordering::AcqRel) {
            // What waits in the channel is part of everything.
            while self.rings.try_recv().is_ok() {}
            return Ring::Everything;
        }
        match self.rings.recv().await {
            Some(ring) => ring,
            None => std::future::pending().await,
        }
    }
}

/// What an event of the file system means.
fn heard(event: Result<Event, notify::Error>, dropped: Option<&Path>) -> Vec<Ring> {
    let Ok(event) = event else {
        return vec![Ring::Everything];
    };
    if event.need_rescan() {
        return vec![Ring::Everything];
    }
    let matters = match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
        // A rename is told as its two halves, and once more as a whole.
        EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::Both,
        EventKind::Modify(_) | EventKind::Access(_) => false,
    };
    if !matters {
        return Vec::new();
    }
    let paths = event.paths.iter();
    paths
        .filter_map(|path| match dropped.filter(|dir| path.parent() == Some(dir)) {
            Some(_) => Some(Ring::Dropped),
            None => job_of(path).map(Ring::Job),
        })
        .collect()
}

/// The number in the name of a job file.
fn job_of(path: &Path) -> Option<SpoolId> {
    path.file_name()?.to_str()?.strip_suffix(".job")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn job_files_ring_wherever_they_come_from_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, held, dropped) = (
            dir.path().join("queue"),
            dir.path().join("held"),
            dir.path().join("drop"),
        );
        for dir in [&queue, &held, &dropped] {
            std::fs::create_dir(dir).unwrap();
        }
        let (mut bell, error) = Doorbell::new(&[queue.clone(), held.clone()], Some(&dropped));
        assert!(error.is_none(), "{error:?}");
        let mut next = async || {
            tokio::time::timeout(Duration::from_secs(20), bell.ring())
                .await
                .expect("a ring")
        };
        std::fs::write(queue.join("7"), "an item").unwrap();
        std::fs::write(dir.path().join("7.job"), "{}").unwrap();
        std::fs::rename(dir.path().join("7.job"), queue.join("7.job")).unwrap();
        let id = SpoolId::new(7).unwrap();
        assert_eq!(next().await, Ring::Job(id));
        std::fs::rename(queue.join("7.job"), held.join("7.job")).unwrap();
        assert_eq!([next().await, next().await], [Ring::Job(id), Ring::Job(id)]);
        std::fs::write(dropped.join("x.sift"), "x").unwrap();
        assert_eq!(next().await, Ring::Dropped);
    }

    #[tokio::test]
    async fn too_many_events_become_a_look_at_everything() {
        let dir = tempfile::tempdir().unwrap();
        let (mut bell, _) = Doorbell::new(&[dir.path().to_owned()], None);
        for n in 0..BACKLOG + 10 {
            std::fs::write(dir.path().join(format!("{}.job", n + 1)), "").unwrap();
        }
        // Nobody listens until more has happened than can wait.
        tokio::time::timeout(Duration::from_secs(20), async {
            while !bell.missed.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("more events than can wait");
        assert_eq!(bell.ring().await, Ring::Everything);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_said_and_nothing_rings() {
        let (_bell, error) = Doorbell::new(&["/nonexistent".into()], None);
        assert!(error.is_some());
    }
}
