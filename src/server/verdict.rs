//! What a spool error means to a peer and to the log: the peer hears a bland refusal, the log gets the whole story.

use tracing::{error, info, warn};
use uft_spool::Error;

use super::intake::IntakeError;
use crate::display::chain;
use crate::proto::Refusal;

/// The refusal for the peer; the log hears the rest.
pub(crate) fn refusal(err: &IntakeError) -> Refusal {
    match err {
        IntakeError::Spool(err) => {
            log(err);
            spool_refusal(err)
        }
        IntakeError::Digest => Refusal::DigestMismatch,
        IntakeError::NotHeld | IntakeError::ReadBack(_) | IntakeError::NotReversible => {
            error!(err = chain(err), "file not stored");
            Refusal::DataError
        }
    }
}

fn spool_refusal(err: &Error) -> Refusal {
    match err {
        Error::OverQuota { .. } | Error::StrangerQuota { .. } | Error::QueueQuota { .. } => {
            Refusal::OverQuota
        }
        Error::TooLarge { .. } => Refusal::TooLarge,
        Error::NoRoom { .. } => Refusal::NoRoom,
        Error::Poisoned => Refusal::SpoolUnavailable,
        _ => Refusal::DataError,
    }
}

/// Writes the error to the log: limits are the peer's affair, a broken disk is the administrator's.
pub(crate) fn log(err: &Error) {
    match err {
        Error::OverQuota { .. }
        | Error::StrangerQuota { .. }
        | Error::QueueQuota { .. }
        | Error::TooLarge { .. } => {
            info!(err = chain(err), "refused by a limit");
        }
        Error::Superseded => info!(err = chain(err), "file not stored here"),
        Error::NoRoom { .. } => warn!(err = chain(err), "no room"),
        _ => error!(err = chain(err), "spool error"),
    }
}
