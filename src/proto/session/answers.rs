//! What the driver's answers lead to: the half of `session.rs` that runs after an [`Ask`](super::Ask).
//!
//! What this file does *not* do: read input, or ask.

use super::{Answer, Closing, Fork, Held, Pending, Refusal, Reply, Session, State, Then, goodbye};

impl Session {
    /// The answer to the last [`Ask`](super::Ask), exactly once.
    pub fn answer(&mut self, verdict: Result<Answer, Refusal>) {
        let pending = match std::mem::replace(&mut self.state, State::Line) {
            State::Answer(pending) => pending,
            state => {
                debug_assert!(false, "an answer nobody asked for");
                self.state = state;
                return;
            }
        };
        let reply = match (pending, verdict) {
            (Pending::Discard(then), _) => self.discarded(then),
            (Pending::Open(file), Ok(_)) => {
                self.opened = true;
                self.draft.file(file);
                Some(Reply::new(200, "ACK FILE"))
            }
            (Pending::Open(_), Err(refusal)) => {
                // So that a USER sent ahead does not open the file under the terms of an earlier FILE.
                self.opened = false;
                self.spoiled = self
                    .spoiled
                    .take()
                    .or_else(|| self.addressed.then(|| refusal.clone()));
                Some(self.refusal(&refusal))
            }
            (Pending::Recipient(name), Ok(answer)) => {
                self.addressed = true;
                self.draft.recipient.clone_from(&name);
                self.user_sequence += 1;
                let shown = if let Answer::Recipient(shown) = answer {
                    shown
                } else {
                    name
                };
                Some(Reply::recipient(self.user_sequence, &shown))
            }
            (Pending::Transfer { verb }, Ok(answer)) => {
                let held = if let Answer::Held(held) = answer {
                    held
                } else {
                    Held::Nothing
                };
                Some(self.held(&verb, held))
            }
            // "313 0" and "213 0" are one write.
            (Pending::Burst { fork, count }, Ok(_)) => {
                self.state = State::Burst {
                    fork,
                    count,
                    left: count,
                };
                (count > 0).then(|| send(count))
            }
            (Pending::BurstEnd { fork, count }, Ok(_)) => {
                if fork == Fork::Data {
                    self.received = self.received.saturating_add(count);
                }
                let received = Reply::new(213, &format!("{count}; received {count} bytes of data."));
                Some(if count == 0 {
                    send(0).and(213, "0; received 0 bytes of data.")
                } else {
                    received
                })
            }
            (Pending::Burst { .. } | Pending::BurstEnd { .. }, Err(refusal)) => {
                Some(self.refusal_and_end(&refusal))
            }
            (Pending::Commit { quit }, verdict) => Some(self.committed(quit, verdict)),
            (Pending::Message { verb }, Ok(_)) => Some(Reply::okay(&verb)),
            (Pending::Query, Ok(answer)) => {
                let lines = if let Answer::Lines(lines) = answer {
                    lines
                } else {
                    Vec::new()
                };
                Some(Reply::bulk(699, &lines, 200, "ACK"))
            }
            (Pending::Agent, Ok(_)) => Some(Reply::new(200, "ACK AGENT")),
            (Pending::Peer, Ok(Answer::Proof(tag))) => {
                self.proven = true;
                Some(Reply::new(200, &format!("{tag} ; PEER okay")))
            }
            // One answer for whatever is wrong.
            (Pending::Peer, _) => Some(self.refusal_and_end(&Refusal::NotAPeer)),
            (
                Pending::Recipient(_)
                | Pending::Transfer { .. }
                | Pending::Message { .. }
                | Pending::Query
                | Pending::Agent,
                Err(refusal),
            ) => Some(self.refusal(&refusal)),
        };
        if reply.as_ref().is_some_and(|reply| reply.code().class() < 4) {
            self.refusals = 0;
        }
        self.reply = reply;
    }

    fn committed(&mut self, quit: bool, verdict: Result<Answer, Refusal>) -> Reply {
        match verdict {
            Err(refusal) => self.refusal_and_end(&refusal),
            Ok(_) if quit => {
                self.state = State::Ending(Closing::Now);
                goodbye()
            }
            Ok(Answer::Stored(id)) => self.with_sequence(Reply::stored(id)),
            Ok(Answer::Queued(id)) => self.with_sequence(Reply::queued(id)),
            Ok(_) => self.with_sequence(Reply::stored(None)),
        }
    }

    /// The reply after a discarded file; one that is waiting already goes first.
    fn discarded(&mut self, then: Then) -> Option<Reply> {
        match then {
            Then::AckAbort => Some(self.aborted()),
            Then::Goodbye => {
                self.state = State::Ending(Closing::Now);
                Some(goodbye())
            }
            Then::End(closing) => {
                self.state = State::Ending(closing);
                self.reply.take()
            }
        }
    }
}

fn send(count: u64) -> Reply {
    Reply::new(313, &format!("{count}; send {count} bytes of data."))
}
