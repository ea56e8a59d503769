//! What must hold for any bytes given to the spool's trailer. Included by the fuzz target and by a test.

use uft_spool::trailer::{FOOTER, append, parse};

/// Any end of a file: parsed or refused, never more; what is parsed is written as it was read.
pub(crate) fn trailer(data: &[u8]) {
    // The first byte says how much longer than its tail the file claims to be.
    let Some((&more, tail)) = data.split_first() else {
        return;
    };
    let file = tail.len() as u64 + u64::from(more);
    if let Ok(envelope) = parse(tail, file) {
        let mut written = Vec::new();
        let appended =
            append(&envelope, &mut written).expect("what was parsed is not too long to be written");
        assert_eq!(appended, written.len());
        assert!(appended >= FOOTER);
        let length = envelope.local.bytes + appended as u64;
        assert_eq!(parse(&written, length).as_ref(), Ok(&envelope));
    }
}
