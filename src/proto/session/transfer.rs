//! Attributes, and the two among them that are about a transfer that began before: `META XID` and `META OFFSET`.
//!
//! A client that knows neither, or does not wait for the answer to its `META XID`, sends the file from its start, and
//! that is always right. What this file does *not* do: keep bytes, or know whose transfer it is.

use super::{Ask, Held, Pending, Refusal, Reply, Session, Step};
use crate::proto::attribute::BadKey;
use crate::proto::line::is_blank;

impl Session {
    pub(super) fn attribute(
        &mut self,
        verb: String,
        key: Result<String, BadKey>,
        value: &str,
        latin1: bool,
    ) -> Step {
        let is = |name: &str| key.as_ref().is_ok_and(|key| key == name);
        let (xid, offset) = (is("XID"), is("OFFSET"));
        let taken = if offset {
            self.offset(value)
        } else {
            self.draft.attribute(key, value, latin1)
        };
        match taken {
            Err(refusal) => {
                self.spoiled.get_or_insert_with(|| refusal.clone());
                self.refuse(&refusal)
            }
            // Whose transfer it is can be said only when the recipient is known too.
            Ok(()) if xid && self.addressed && !self.begun => {
                self.start_over();
                let draft = Box::new(self.draft.clone());
                self.ask(Pending::Transfer { verb }, Ask::Transfer(draft))
            }
            Ok(()) => self.acknowledge(Reply::okay(&verb)),
        }
    }

    /// The driver has said what there is.
    pub(super) fn held(&mut self, verb: &str, held: Held) -> Reply {
        if let Held::Part(measure) = held {
            self.offered = Some(measure.bytes);
        }
        Reply::held(verb, held)
    }

    /// Where the client goes on: at what was offered, or at the start of the file. Anything else would leave a gap.
    fn offset(&mut self, value: &str) -> Result<(), Refusal> {
        let digits = value.trim_matches(is_blank);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let offset = digits.parse::<u64>().ok().filter(|_| plain && !self.begun);
        match offset {
            Some(0) => {
                self.draft.offset = None;
                self.received = 0;
                Ok(())
            }
            Some(offset) if self.offered == Some(offset) => {
                self.draft.offset = Some(offset);
                self.received = offset;
                Ok(())
            }
            _ => Err(Refusal::BadAttribute {
                key: "OFFSET".to_owned(),
            }),
        }
    }

    fn start_over(&mut self) {
        self.offered = None;
        self.draft.offset = None;
        self.received = 0;
    }
}
