//! The schedule by example; `schedule_model_tests.rs` compares it with a model.

use super::*;

pub(super) const RETRY: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];
/// The middle of the jitter: pauses as they stand in the table.
const MIDDLE: u64 = 1 << 63;

pub(super) fn id(n: u64) -> SpoolId {
    SpoolId::new(n).unwrap()
}

fn job(n: u64, hops: &[&str]) -> Job {
    Job {
        id: id(n),
        hops: hops.iter().map(|&hop| hop.into()).collect(),
        queued: i64::try_from(n).unwrap(),
        priority: PRIORITY,
        size: 0,
    }
}

fn schedule(jobs: &[(u64, &[&str])]) -> Schedule {
    let mut schedule = Schedule::new(RETRY.to_vec(), 100, 1000);
    for (n, hops) in jobs {
        assert!(schedule.insert(job(*n, hops), false, 1000));
    }
    schedule
}

/// Everything that can be taken at `now`: `number@hop`, in order.
fn takes(schedule: &mut Schedule, now: i64) -> Vec<String> {
    std::iter::from_fn(|| schedule.take(now))
        .map(|taken| format!("{}@{}", taken.id, taken.hop))
        .collect()
}

#[test]
fn jobs_of_a_hop_go_in_the_order_in_which_they_came() {
    let mut s = schedule(&[(3, &["b"]), (1, &["b"]), (2, &["b"])]);
    assert_eq!(takes(&mut s, 1000), ["1@b", "2@b", "3@b"]);
    assert_eq!((s.take(1000), s.wake_at()), (None, None));
}

#[test]
fn a_small_or_urgent_file_overtakes_a_large_one_for_a_bounded_time() {
    let now = 1 << 50;
    let mut s = Schedule::new(RETRY.to_vec(), 100, now);
    let large = Job {
        size: 1 << 30,
        ..job(1, &["b"])
    };
    let at = |n: u64, queued: i64| Job {
        queued,
        ..job(n, &["b"])
    };
    let gain = i64::try_from((1u64 << 30) / RATE).unwrap();
    assert!((250_000..260_000).contains(&gain), "a GiB is about four minutes");
    s.insert(large, false, now);
    s.insert(at(2, gain), false, now);
    s.insert(at(3, gain + 2), false, now);
    s.insert(
        Job {
            priority: 40,
            ..at(4, gain + 2 + 10 * STEP)
        },
        false,
        now,
    );
    s.insert(
        Job {
            priority: 0,
            ..at(5, gain)
        },
        false,
        now,
    );
    assert_eq!(takes(&mut s, now), ["5@b", "2@b", "1@b", "3@b", "4@b"]);
}

#[test]
fn a_file_of_any_size_and_priority_has_its_turn_within_a_day() {
    let mut s = Schedule::new(RETRY.to_vec(), 1, 0);
    let huge = Job {
        size: u64::MAX,
        priority: 255,
        ..job(1, &["b"])
    };
    s.insert(huge, false, 0);
    // A small and most urgent file each minute, and the hop takes one a minute.
    let turn = (1..).find(|&minute| {
        let now = i64::from(minute) * 60_000;
        let urgent = Job {
            queued: now,
            priority: 0,
            ..job(1 + u64::try_from(minute).unwrap(), &["b"])
        };
        s.insert(urgent, false, now);
        let taken = s.take(now).unwrap();
        assert!(s.done(taken.id, Outcome::Gone, now, 0));
        taken.id == id(1)
    });
    assert!(turn.unwrap() <= 6 * 60 + 99);
}

#[test]
fn a_job_from_the_future_ranks_as_one_of_now() {
    let mut s = Schedule::new(RETRY.to_vec(), 1, 1000);
    s.insert(
        Job {
            queued: i64::MAX,
            ..job(1, &["b"])
        },
        false,
        1000,
    );
    s.insert(
        Job {
            queued: 2000,
            ..job(2, &["b"])
        },
        false,
        1000,
    );
    assert_eq!(takes(&mut s, 1000), ["1@b"]);
}

#[test]
fn hops_take_turns_however_much_one_has_to_do() {
    let mut s = schedule(&[]);
    for n in 1..=100 {
        s.insert(job(n, &["busy"]), false, 1000);
    }
    for n in 101..=103 {
        s.insert(job(n, &["b"]), false, 1000);
        s.insert(job(n + 100, &["c"]), false, 1000);
    }
    let taken = takes(&mut s, 1000);
    for hop in ["b", "c"] {
        let third = taken.iter().filter(|t| t.ends_with(hop)).count();
        let last = taken.iter().rposition(|t| t.ends_with(hop)).unwrap();
        assert!(third == 3 && last < 9, "{taken:?}");
    }
}

#[test]
fn a_hop_takes_as_many_jobs_at_once_as_it_was_told() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"]), (3, &["b"]), (4, &["b"])]);
    s.set_parallel("b", 2);
    assert_eq!(takes(&mut s, 1000), ["1@b", "2@b"]);
    assert!(s.done(id(1), Outcome::Gone, 1000, 0));
    assert_eq!(takes(&mut s, 1000), ["3@b"]);
    s.set_parallel("b", 0);
    assert!(s.done(id(2), Outcome::Gone, 1000, 0) && s.done(id(3), Outcome::Gone, 1000, 0));
    assert_eq!(takes(&mut s, 1000), [""; 0]);
    s.set_parallel("b", 1);
    assert_eq!(takes(&mut s, 1000), ["4@b"]);
}

#[test]
fn a_full_hop_leaves_its_work_to_the_next_in_the_list() {
    let mut s = schedule(&[(1, &["b", "c"]), (2, &["b", "c"]), (3, &["b"])]);
    s.set_parallel("b", 1);
    s.set_parallel("c", 1);
    assert_eq!(takes(&mut s, 1000), ["1@b", "2@c"]);
}

#[test]
fn what_a_hop_said_to_a_job_puts_off_that_job_alone() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"])]);
    s.set_parallel("b", 1);
    assert_eq!(takes(&mut s, 1000), ["1@b"]);
    assert!(s.done(id(1), Outcome::Later(5000), 1000, 0));
    assert_eq!(s.state(id(1)), Some(State::Deferred(5000)));
    assert_eq!(takes(&mut s, 1000), ["2@b"]);
    assert!(s.done(id(2), Outcome::Gone, 1000, 0));
    assert_eq!((s.take(4999), s.wake_at()), (None, Some(5000)));
    assert_eq!(takes(&mut s, 5000), ["1@b"]);
}

#[test]
fn a_hop_that_cannot_be_reached_is_probed_by_one_job_at_a_time() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"]), (3, &["b"])]);
    assert_eq!(takes(&mut s, 1000), ["1@b", "2@b", "3@b"]);
    for n in 1..=3 {
        // They fail together, and that counts once.
        assert!(s.done(id(n), Outcome::Unreachable, 1000, MIDDLE));
        assert_eq!(s.state(id(n)), Some(State::Ready));
    }
    assert_eq!((s.take(60_999), s.wake_at()), (None, Some(61_000)));
    assert_eq!(s.down_until("b"), Some(61_000));
    let probe = s.take(61_000).unwrap();
    assert!(probe.probe && probe.id == id(1));
    assert_eq!((s.take(61_000), s.wake_at()), (None, None));
    assert!(s.done(id(1), Outcome::Unreachable, 61_000, MIDDLE));
    assert_eq!(s.down_until("b"), Some(361_000));
    assert_eq!(takes(&mut s, 361_000), ["1@b"]);
    assert!(s.done(id(1), Outcome::Later(400_000), 361_000, MIDDLE));
    assert_eq!(
        takes(&mut s, 361_000),
        ["2@b", "3@b"],
        "it is up, and all are due"
    );
    assert!(s.done(id(2), Outcome::Unreachable, 361_000, MIDDLE));
    assert_eq!(
        s.down_until("b"),
        Some(421_000),
        "failures count from the last success"
    );
}

#[test]
fn a_probe_that_found_out_nothing_leaves_the_next_one_to_do_so() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"])]);
    let first = s.take(1000).unwrap();
    assert!(s.done(first.id, Outcome::Unreachable, 1000, MIDDLE));
    let probe = s.take(61_000).unwrap();
    assert!(probe.probe && s.done(probe.id, Outcome::Untried(90_000), 61_000, MIDDLE));
    let next = s.take(61_000).unwrap();
    assert!(next.probe && next.id == id(2));
    assert_eq!(s.take(61_000), None);
}

#[test]
fn when_the_first_hop_is_down_the_second_is_used_at_once() {
    let mut s = schedule(&[(1, &["b", "c"]), (2, &["b", "c"]), (3, &["b"])]);
    s.set_parallel("b", 1);
    s.set_parallel("c", 0);
    assert_eq!(takes(&mut s, 1000), ["1@b"]);
    s.set_parallel("c", 4);
    assert!(s.done(id(1), Outcome::Unreachable, 1000, MIDDLE));
    assert_eq!(takes(&mut s, 1000), ["1@c", "2@c"]);
    assert_eq!(s.state(id(3)), Some(State::Ready));
}

#[test]
fn a_hop_that_was_heard_of_is_not_down() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"])]);
    let first = s.take(1000).unwrap();
    assert!(s.done(first.id, Outcome::Unreachable, 1000, MIDDLE));
    assert_eq!(s.take(2000), None);
    s.reached("b");
    assert_eq!(takes(&mut s, 2000), ["1@b", "2@b"]);
}

#[test]
fn held_jobs_wait_for_their_release() {
    let mut s = schedule(&[(1, &["b"])]);
    assert!(s.insert(job(2, &["b"]), true, 1000));
    assert!(s.hold(id(1)) && !s.hold(id(9)));
    assert!(!s.retry_now(id(1)) && !s.defer(id(1), 0));
    assert_eq!((s.take(1000), s.state(id(1))), (None, Some(State::Held)));
    assert!(s.release(id(1)) && s.release(id(2)) && !s.release(id(2)) && !s.release(id(9)));
    assert_eq!(takes(&mut s, 1000), ["1@b", "2@b"]);
}

#[test]
fn what_is_asked_for_a_job_on_its_way_happens_when_it_is_done() {
    let mut s = schedule(&[(1, &["b"]), (2, &["b"]), (3, &["b"])]);
    assert_eq!(takes(&mut s, 1000).len(), 3);
    assert!(s.hold(id(1)) && s.remove(id(2)) && s.hold(id(3)) && s.release(id(3)));
    assert!(!s.insert(job(2, &["c"]), false, 1000), "it is not gone yet");
    assert_eq!(s.len(), 3);
    for n in 1..=3 {
        assert!(s.done(id(n), Outcome::Later(1000), 1000, 0));
        assert!(!s.done(id(n), Outcome::Gone, 1000, 0), "once");
    }
    assert_eq!(s.state(id(1)), Some(State::Held));
    assert_eq!(s.state(id(2)), None);
    assert_eq!(takes(&mut s, 1000), ["3@b"]);
}

#[test]
fn retry_now_brings_the_job_and_the_probe_forward() {
    let mut s = schedule(&[(1, &["b"])]);
    let first = s.take(1000).unwrap();
    assert!(s.done(first.id, Outcome::Unreachable, 1000, MIDDLE));
    assert_eq!(s.take(1000), None);
    assert!(s.retry_now(id(1)));
    assert!(s.wake_at().unwrap() <= 1000);
    assert!(s.take(1000).unwrap().probe);
}

#[test]
fn a_clock_that_goes_back_leaves_every_pause_what_was_left_of_it() {
    let mut s = schedule(&[(1, &["b"]), (2, &["c"])]);
    assert!(s.defer(id(1), 11_000));
    let other = s.take(1000).unwrap();
    assert!(s.done(other.id, Outcome::Unreachable, 1000, MIDDLE));
    assert_eq!((s.take(6000), s.wake_at()), (None, Some(11_000)));
    assert_eq!((s.take(-90_000), s.wake_at()), (None, Some(-85_000)));
    assert_eq!(takes(&mut s, -85_000), ["1@b"]);
    assert_eq!(s.down_until("c"), Some(-35_000));
    assert!(s.take(-35_000).unwrap().probe);
}

#[test]
fn a_job_without_a_hop_is_never_taken() {
    let mut s = schedule(&[(1, &[]), (2, &["b", "b"])]);
    assert_eq!(takes(&mut s, 1000), ["2@b"]);
    assert!(s.remove(id(1)) && !s.remove(id(1)));
}

#[test]
fn a_hundred_thousand_jobs_come_and_go_and_leave_nothing_behind() {
    // A job is an entry, its key twice, its rank; the maps add less than as much again.
    assert!(size_of::<Entry>() <= 64);
    for hops in [40u64, 100_000] {
        let mut s = Schedule::new(RETRY.to_vec(), 3, 0);
        for n in 1..=100_000 {
            let hop = format!("h{}", n % hops);
            let lists: [&[&str]; 2] = [&[&hop], &[&hop, "spare"]];
            // Hosts without a route stand alone; there are only as many lists as there are routes.
            let list = if hops < 100 && n % 2 == 0 {
                lists[1]
            } else {
                lists[0]
            };
            s.insert(job(n, list), false, 200_000);
        }
        assert_eq!(s.len(), 100_000);
        while let Some(taken) = s.take(200_000) {
            assert!(s.done(taken.id, Outcome::Gone, 200_000, 0));
        }
        assert!(s.is_empty() && s.lanes.is_empty() && s.hops.is_empty() && s.turns.is_empty());
    }
}

#[test]
fn hops_that_come_and_go_between_takes_are_not_remembered() {
    let mut s = schedule(&[]);
    for n in 1..=1000 {
        s.insert(job(n, &["b"]), false, 1000);
        s.remove(id(n));
    }
    assert!(s.turns.len() <= 1 && s.hops.len() <= 1);
    assert_eq!(s.take(0), None);
    assert!(s.hops.is_empty());
}
