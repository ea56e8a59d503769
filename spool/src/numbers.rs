//! The numbers of one directory of items: never given out twice.
//!
//! Numbers are reserved in blocks: the end of a block is durable before the first number of it is given out, so a
//! crash skips numbers and never gives one out twice. The file `seq` has two slots, written in turn, so that a torn
//! write spoils the new one only. Each slot has 32 bytes, at offset 0 (even generations) or 4096 (odd ones):
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | generation, little-endian; each write adds one |
//! | 8 | 8 | numbers below this one may have been given out, little-endian |
//! | 16 | 16 | first half of BLAKE3 of the 16 bytes before |
//!
//! The valid slot of the highest generation counts. When the other one is not the generation before it, a newer one
//! may be lost: a whole block is skipped. An orderly stop writes the exact next number.
//!
//! What this file does *not* do: look at items, or know whose they are.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::dir::Dir;
use crate::disk::{Disk, Handle, lock};
use crate::error::Error;
use crate::id::SpoolId;

/// Numbers that one fsync reserves.
pub(crate) const BLOCK: u64 = 64;
/// No number above this is given out or believed: there is always room to count on.
pub(crate) const ID_MAX: u64 = i64::MAX as u64 / 2;
/// Name of the file with the numbers.
pub(crate) const SEQ: &str = "seq";

const SLOT: usize = 32;
const SLOT_1: u64 = 4096;

/// What `seq` says: which generation, and the next number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) generation: u64,
    pub(crate) next: u64,
}

impl Next {
    /// A directory without any item ever.
    pub(crate) const FIRST: Next = Next {
        generation: 0,
        next: 1,
    };

    fn slot(self) -> ([u8; SLOT], u64) {
        let mut slot = [0; SLOT];
        let bytes = self
            .generation
            .to_le_bytes()
            .into_iter()
            .chain(self.next.to_le_bytes());
        let head: Vec<u8> = bytes.collect();
        let digest = blake3::hash(&head);
        for (to, from) in slot.iter_mut().zip(head.iter().chain(digest.as_bytes())) {
            *to = *from;
        }
        (
            slot,
            if self.generation.is_multiple_of(2) {
                0
            } else {
                SLOT_1
            },
        )
    }

    fn of_slot(slot: &[u8]) -> Option<Next> {
        let (generation, rest) = slot.split_first_chunk::<8>()?;
        let (next, _) = rest.split_first_chunk::<8>()?;
        let found = Next {
            generation: u64::from_le_bytes(*generation),
            next: u64::from_le_bytes(*next),
        };
        (slot == found.slot().0 && (1..=ID_MAX).contains(&found.next)).then_some(found)
    }

    /// Reads the content of a `seq` file; `None` when neither slot is valid. Any input is safe.
    pub(crate) fn parse(file: &[u8]) -> Option<Next> {
        let at = |offset: usize| file.get(offset..offset.checked_add(SLOT)?);
        let slots = [at(0), at(SLOT_1 as usize)];
        let valid = slots.map(|slot| slot.and_then(Next::of_slot));
        let newest = valid.into_iter().flatten().max_by_key(|next| next.generation)?;
        let before = valid
            .iter()
            .flatten()
            .any(|next| next.generation.checked_add(1) == Some(newest.generation));
        let first = newest.generation == 1 && at(0).is_none_or(|slot| slot.iter().all(|b| *b == 0));
        let skip = if before || first { 0 } else { BLOCK };
        Some(Next {
            next: newest.next.saturating_add(skip).min(ID_MAX),
            ..newest
        })
    }
}

#[derive(Debug)]
struct Seq {
    generation: u64,
    /// The next number. `next <= reserved` once a block was reserved.
    next: u64,
    /// Numbers below this one may be given out.
    reserved: u64,
    /// Numbers given out for items that are not acknowledged yet: nobody may see those.
    hidden: Vec<u64>,
}

/// The numbers of one directory.
#[derive(Debug)]
pub(crate) struct Numbers {
    seq: Mutex<Seq>,
    /// A number is not hidden any more.
    published: Condvar,
}

impl Numbers {
    pub(crate) fn new(start: Next) -> Numbers {
        Numbers {
            seq: Mutex::new(Seq {
                generation: start.generation,
                next: start.next,
                reserved: start.next,
                hidden: Vec::new(),
            }),
            published: Condvar::new(),
        }
    }

    /// A number that was never given out before; hidden until [`Numbers::publish`].
    pub(crate) fn number(&self, disk: &Disk, dir: &Dir) -> Result<SpoolId, Error> {
        let mut seq = lock(&self.seq);
        let id = SpoolId::new(seq.next).filter(|id| id.get() < ID_MAX);
        let id = id.ok_or_else(|| Error::OutOfIds(dir.path.clone()))?;
        if seq.next >= seq.reserved {
            let reserved = seq.next.saturating_add(BLOCK).min(ID_MAX);
            seq.generation = write(disk, dir, seq.generation, reserved)?;
            seq.reserved = reserved;
        }
        seq.next += 1;
        seq.hidden.push(id.get());
        Ok(id)
    }

    /// The item is acknowledged, or given up.
    pub(crate) fn publish(&self, id: SpoolId) {
        let mut seq = lock(&self.seq);
        if let Some(at) = seq.hidden.iter().position(|hidden| *hidden == id.get()) {
            seq.hidden.swap_remove(at);
            self.published.notify_all();
        }
    }

    /// Waits until a delivery that has this number is acknowledged or given up.
    pub(crate) fn settle(&self, id: SpoolId) {
        let mut seq = lock(&self.seq);
        while seq.hidden.contains(&id.get()) {
            seq = self.published.wait(seq).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the number belongs to a delivery that is not finished.
    pub(crate) fn is_hidden(&self, id: SpoolId) -> bool {
        lock(&self.seq).hidden.contains(&id.get())
    }

    /// Writes back the exact next number at an orderly stop.
    pub(crate) fn close(&self, disk: &Disk, dir: &Dir) -> Result<(), Error> {
        let mut seq = lock(&self.seq);
        if seq.next < seq.reserved {
            seq.generation = write(disk, dir, seq.generation, seq.next)?;
            seq.reserved = seq.next;
        }
        Ok(())
    }

    pub(crate) fn in_use(&self) -> bool {
        let seq = lock(&self.seq);
        seq.next < seq.reserved
    }
}

/// Makes the next generation of `seq` durable; its number.
fn write(disk: &Disk, dir: &Dir, generation: u64, next: u64) -> Result<u64, Error> {
    let generation = generation.saturating_add(1);
    let (slot, offset) = Next { generation, next }.slot();
    let put = |handle: &Handle| {
        disk.write_at(handle, &slot, offset)
            .and_then(|()| disk.sync(handle))
    };
    match disk.open_own(dir, SEQ) {
        Ok(handle) => put(&handle)?,
        Err(e) if e.is(io::ErrorKind::NotFound) => {
            put(&disk.create(dir, SEQ)?)?;
            // Without its name the file would not be found after a crash.
            disk.sync_dir(dir)?;
        }
        Err(e) => return Err(e),
    }
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_hears_of_a_number_early_waits_until_its_delivery_is_over() {
        let numbers = Numbers::new(Next::FIRST);
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::root(temp.path()).unwrap();
        let id = numbers.number(&Disk::new(), &dir).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                numbers.settle(id);
                numbers.is_hidden(id)
            });
            numbers.publish(id);
            assert!(!waiting.join().unwrap());
        });
        numbers.settle(id);
    }

    fn file(slots: &[Next]) -> Vec<u8> {
        let mut file = vec![0; 4096 + SLOT];
        for next in slots {
            let (slot, at) = next.slot();
            file[at as usize..at as usize + SLOT].copy_from_slice(&slot);
        }
        file
    }

    #[test]
    fn the_newest_slot_counts_even_when_it_says_less() {
        let at = |generation, next| Next { generation, next };
        assert_eq!(Next::parse(&file(&[at(1, 65)])), Some(at(1, 65)));
        assert_eq!(Next::parse(&file(&[at(1, 65), at(2, 9)])), Some(at(2, 9)));
        assert_eq!(Next::parse(&file(&[at(3, 73), at(2, 9)])), Some(at(3, 73)));
    }

    #[test]
    fn a_spoiled_slot_costs_a_block_of_numbers() {
        let at = |generation, next| Next { generation, next };
        let good = file(&[at(3, 73), at(2, 65)]);
        for byte in 0..SLOT {
            let mut bad = good.clone();
            bad[4096 + byte] ^= 0x40;
            assert_eq!(Next::parse(&bad), Some(at(2, 65 + BLOCK)));
            bad[byte] ^= 0x40;
            assert_eq!(Next::parse(&bad), None);
        }
        for len in 0..good.len() {
            let cut = Next::parse(&good[..len]);
            assert_eq!(cut, (len >= SLOT).then_some(at(2, 65 + BLOCK)), "{len}");
        }
    }

    #[test]
    fn numbers_that_leave_no_room_to_count_on_are_not_believed() {
        let last = Next {
            generation: 1,
            next: ID_MAX,
        };
        assert_eq!(Next::parse(&file(&[last])), Some(last));
        assert_eq!(
            Next::parse(&file(&[Next {
                next: ID_MAX + 1,
                ..last
            }])),
            None
        );
        assert_eq!(Next::parse(&file(&[Next { next: 0, ..last }])), None);
    }
}
