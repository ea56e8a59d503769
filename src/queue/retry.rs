//! How long to wait before the next attempt, and when to give up.
//!
//! What it does *not* do: know a clock, a random number or what failed: all of these are parameters. Times are
//! milliseconds since 1970-01-01 00:00 UTC.

use std::time::Duration;

/// The pause when a table is empty, which the configuration does not allow.
const FALLBACK: Duration = Duration::from_secs(15 * 60);

/// The pause after the `attempt`-th failure in a row (the first is 1): the table's entry, the last one from there on,
/// made up to 20 % shorter or longer by `random`, any 64 bits. Without that, what failed together would come back
/// together.
pub fn pause(attempt: u32, table: &[Duration], random: u64) -> Duration {
    let nth = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let plain = table.get(nth).or(table.last()).copied().unwrap_or(FALLBACK);
    // 0.8 to 1.2 of it, in whole nanoseconds: 2^64 stands for the 0.4 between.
    let nanos = plain.as_nanos();
    let more = (nanos.saturating_mul(4) / 10).saturating_mul(u128::from(random) >> 32) >> 32;
    let nanos = (nanos.saturating_mul(8) / 10).saturating_add(more);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// `now` and a pause; at the end of time when they do not fit.
pub fn after(now: i64, pause: Duration) -> i64 {
    now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}

/// Whether a job that was queued at `queued` is to be given up. One from the future is as new as any.
pub fn expired(queued: i64, now: i64, most: Duration) -> bool {
    after(queued, most) <= now
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTES: [Duration; 3] = [
        Duration::from_secs(60),
        Duration::from_secs(300),
        Duration::from_secs(900),
    ];

    #[test]
    fn pauses_grow_along_the_table_and_stay_at_its_last_entry() {
        let middle = |attempt| pause(attempt, &MINUTES, u64::MAX / 2).as_secs_f64().round();
        assert_eq!([1, 2, 3, 4, u32::MAX].map(middle), [60., 300., 900., 900., 900.]);
        assert_eq!(middle(0), 60.);
    }

    #[test]
    fn the_ends_of_the_jitter_are_a_fifth_off() {
        assert_eq!(pause(1, &MINUTES, 0), Duration::from_secs(48));
        let most = pause(1, &MINUTES, u64::MAX);
        assert!(most <= Duration::from_secs(72) && most > Duration::from_millis(71_999));
    }

    #[test]
    fn an_empty_table_still_pauses() {
        assert!(pause(1, &[], 0) >= Duration::from_secs(600));
    }

    #[test]
    fn a_job_expires_after_its_time_and_not_when_the_clock_was_ahead() {
        let day = Duration::from_secs(24 * 3600);
        assert!(!expired(1000, 1000 + 86_399_999, day));
        assert!(expired(1000, 1000 + 86_400_000, day));
        assert!(!expired(i64::MAX, 0, day));
        assert!(!expired(5000, 1000, day));
    }

    proptest! {
        #[test]
        fn no_pause_is_more_than_a_fifth_off(attempt: u32, millis in 1u64..1 << 40, random: u64) {
            let plain = Duration::from_millis(millis);
            let pause = pause(attempt, &[plain], random);
            prop_assert!(pause >= plain * 4 / 5 && pause <= plain * 6 / 5);
        }

        #[test]
        fn no_time_overflows(now: i64, secs: u64, random: u64) {
            let table = [Duration::from_secs(secs)];
            prop_assert!(after(now, pause(1, &table, random)) >= now);
        }
    }
}
