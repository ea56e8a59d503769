//! The life of a job: queued, listed, held, released, failed, rerouted, finished; repeats, quotas, forwards, restarts.

use uft_spool::{Error, Form, Spool, State};

use crate::common::*;

fn open() -> (tempfile::TempDir, Spool) {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    (temp, spool)
}

fn again(temp: &tempfile::TempDir, spool: Spool) -> Spool {
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.clean && recovery.learnt == 0 && recovery.forgotten == 0);
    assert_eq!((recovery.quarantined, recovery.problems), (vec![], vec![]));
    spool
}

#[test]
fn a_job_is_queued_listed_read_and_finished() {
    let (temp, spool) = open();
    let parcel = Parcel {
        wire: Some(b"wire"),
        aux: Some(b"fork"),
        xid: Some("x1"),
        ..queued("bob@BETA", b"local")
    };
    assert_eq!(parcel.job_ids(&spool), [id(1)]);
    let jobs = spool.jobs().unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].id, jobs[0].state, jobs[0].size),
        (id(1), State::Ready, 4)
    );
    assert_eq!(jobs[0].job, job("bob@BETA"));
    assert_eq!(jobs[0].from, "maint@192.0.2.1");
    assert_eq!(jobs[0].name.as_deref(), Some("report.txt"));
    let item = spool.job(id(1)).unwrap();
    assert_eq!((item.xid(), &item.job), (Some("x1"), &jobs[0].job));
    for (form, bytes) in [
        (Form::Local, &b"local"[..]),
        (Form::Wire, b"wire"),
        (Form::Aux, b"fork"),
    ] {
        assert_eq!(read_job(&spool, id(1), form).unwrap(), bytes);
    }
    let totals = spool.totals();
    assert_eq!((totals.items, totals.jobs, totals.bytes), (0, 1, 9));
    let spool = again(&temp, spool);
    assert_eq!(spool.jobs().unwrap(), jobs);
    spool.finish(id(1)).unwrap();
    assert!(spool.jobs().unwrap().is_empty());
    assert!(matches!(spool.finish(id(1)), Err(Error::NoSuchJob(gone)) if gone == id(1)));
    assert!(matches!(spool.job(id(1)), Err(Error::NoSuchJob(_))));
    assert!(matches!(
        spool.open_job(id(1), Form::Local),
        Err(Error::NoSuchJob(_))
    ));
    let totals = spool.totals();
    assert_eq!((totals.jobs, totals.bytes), (0, 0));
    let mut left: Vec<_> = std::fs::read_dir(temp.path().join("queue"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["held", "seq"]);
}
