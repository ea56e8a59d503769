//! Streams that were cut or changed on the way: an error with its place or another reading, never a panic, and never
//! success where the end is missing.

use super::tests::{bodies, fault, vectors};
use super::*;

#[test]
fn no_beginning_of_a_stream_is_complete() {
    'streams: for (name, wire) in vectors() {
        let complete = !name.starts_with('e');
        let mut reader = Reader::new(Limits::default());
        for (at, byte) in wire.iter().enumerate() {
            if !reader.is_complete() {
                let error = reader.finish().unwrap_err();
                let cut = matches!(error.fault, Fault::Truncated { .. } | Fault::NotNetdata);
                assert!(cut && error.offset <= at as u64, "{name} {at}: {error}");
            }
            let mut rest = std::slice::from_ref(byte);
            loop {
                match reader.next(&mut rest) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        assert!(!complete, "{name} {at}: {error}");
                        continue 'streams;
                    }
                }
            }
            assert!(rest.is_empty());
        }
        assert_eq!(reader.is_complete(), complete, "{name}");
    }
}

#[test]
fn every_cut_of_a_small_stream_is_an_error_whatever_the_pieces() {
    for (name, wire) in vectors().into_iter().filter(|(_, wire)| wire.len() <= 400) {
        let end = wire.len() - usize::try_from(survey_ignored(&wire)).unwrap();
        for cut in 0..wire.len() {
            bodies::read_with(&wire[..cut], 1 + cut % 5, Limits::default());
            let result = decode(&wire[..cut], Limits::default());
            assert_eq!(result.is_ok(), cut >= end, "{name} {cut}");
        }
    }
}

fn survey_ignored(wire: &[u8]) -> u64 {
    let mut survey = Survey::new(Limits::default());
    survey.feed(wire).unwrap();
    survey.finish().unwrap().ignored
}

/// One of two threads' share of all changes of one byte of the small streams.
fn every_change(share: usize) {
    for (_, mut wire) in vectors()
        .into_iter()
        .filter(|(name, wire)| wire.len() <= 240 || name.starts_with("v18"))
    {
        let end = wire.len() - usize::try_from(survey_ignored(&wire)).unwrap();
        for at in (0..end).filter(|at| at % 2 == share) {
            let was = wire[at];
            for change in 1..=u8::MAX {
                wire[at] = was ^ change;
                match decode(&wire, Limits::default()) {
                    Ok(contents) => {
                        let bytes: usize = contents.files.iter().map(|file| file.octets().len()).sum();
                        assert!(bytes <= wire.len());
                    }
                    Err(error) => {
                        assert!(error.offset <= wire.len() as u64 && error.record <= 40, "{error}");
                    }
                }
            }
            wire[at] = was;
        }
    }
}

#[test]
fn every_change_of_an_even_byte_of_the_small_streams_is_survived() {
    every_change(0);
}

#[test]
fn every_change_of_an_odd_byte_of_the_small_streams_is_survived() {
    every_change(1);
}

#[test]
fn changes_of_the_other_streams_are_survived_at_any_borders() {
    for (_, wire) in vectors().into_iter().filter(|(_, wire)| wire.len() < 1200) {
        let mut wire = wire;
        for at in 0..wire.len().min(500) {
            let was = wire[at];
            for byte in [0x00, 0xff, was ^ 0x80, was ^ 0x20] {
                wire[at] = byte;
                bodies::read_with(&wire, 1 + at % 11, Limits::default());
            }
            wire[at] = was;
        }
    }
}

#[test]
fn what_is_not_netdata_is_called_so_at_once() {
    let mut reader = Reader::new(Limits::default());
    for wire in [
        b"Hello, world.".as_slice(),
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x00",
        b"\x03\xe0\xc9",
        b"",
        b"\x08\xe0\xc9\xd5\xd4\xd9\xf0\xf2",
        b"\x08\xc0\xc9\xd5\xd4\xd9\xf0\xf1",
    ] {
        assert_eq!(fault(wire), Fault::NotNetdata, "{wire:02x?}");
    }
    let error = reader.next(&mut b"He".as_slice()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "record 1 at offset 0: this is not NETDATA: no INMR01 at the beginning"
    );
}
