//! What a dialogue says, and when: the half of `dialogue.rs` that speaks.
//!
//! What this file does *not* do: read replies, or end an errand.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use uft_spool::{FileType, TypeSpec};

use super::{Dialogue, ONE_PIECE_MAX, Part, Server, Stage, WINDOW, Work};
use crate::proto::command::Fork;
use crate::proto::errand::{Action, At, Delivery, Errand, Event};
use crate::proto::held::Held;
use crate::proto::wording::{self, Line};

impl Dialogue {
    /// Says the next thing, if it is time to say one.
    pub(super) fn advance(&mut self) -> bool {
        let Some(server) = self.server else { return false };
        if self.proving.is_some() {
            return false;
        }
        let idle = self.awaited.is_empty();
        let Some(work) = &mut self.work else {
            return self.next_errand(server);
        };
        if work.settled && work.stage != Stage::Abort {
            if idle {
                work.stage = Stage::Abort;
                work.todo.push_back((At::Abort, "ABORT".to_owned()));
            }
            return idle;
        }
        if work.stage == Stage::Gather {
            return self.gather();
        }
        if !work.todo.is_empty() {
            let now = if server.pipelined {
                work.todo.len()
            } else {
                usize::from(idle)
            };
            let lines: Vec<Line> = work.todo.drain(..now).collect();
            self.say(lines);
            return now > 0;
        }
        match work.stage {
            Stage::Head if idle && work.held == Held::Nothing => {
                work.stage = Stage::Body(Fork::Data);
                true
            }
            Stage::Body(fork) if work.slice.is_some() && server.may_burst(&self.awaited) => {
                self.burst(server, fork)
            }
            Stage::Abort if idle => {
                self.work = None;
                true
            }
            Stage::Gather | Stage::Head | Stage::Body(_) | Stage::Go(_) | Stage::Tail | Stage::Abort => false,
        }
    }

    fn next_errand(&mut self, server: Server) -> bool {
        if self.quit_said {
            return false;
        }
        match self.queue.pop_front() {
            Some((errand, what)) => self.begin(server, errand, &what),
            None if self.finishing => {
                self.quit_said = true;
                self.say([quit()]);
            }
            None => return false,
        }
        true
    }

    fn begin(&mut self, server: Server, errand: usize, what: &Errand) {
        let manner = server.manner;
        let words = match what {
            Errand::Deliver(delivery) => wording::head(delivery, manner),
            Errand::Message { to, text, from } => wording::message(to, text, from.as_deref(), manner),
            Errand::Query(operands) => wording::query(operands, manner),
        };
        let words = match words {
            Ok(words) => words,
            Err(why) => return self.event(Event::Unfit { errand, why }),
        };
        let digested = matches!(what, Errand::Deliver(delivery) if has_digest(delivery));
        let (stage, aux, type_matters) = match what {
            Errand::Deliver(delivery) => (
                if server.pipelined {
                    Stage::Gather
                } else {
                    Stage::Head
                },
                delivery.aux && manner.level > 1,
                delivery.spec != TypeSpec::plain(FileType::I),
            ),
            Errand::Message { .. } | Errand::Query(_) => (Stage::Tail, false, false),
        };
        self.event(Event::Started { errand });
        for note in words.notes {
            self.event(Event::Altered { errand, note });
        }
        let (todo, late) = (words.lines.into(), Vec::new());
        self.work = Some(Work {
            errand,
            stage,
            todo,
            late,
            slice: None,
            held: Held::Nothing,
            digested,
            aux,
            settled: false,
            type_matters,
        });
    }

    /// Towards our own server: a file that is whole already goes out at once, with `QUIT` if nothing follows.
    fn gather(&mut self) -> bool {
        let Some(work) = &mut self.work else { return false };
        match &work.slice {
            None => return false,
            Some((slice, last)) if *last && !work.aux && slice.len() <= ONE_PIECE_MAX => {}
            Some((slice, false)) if slice.is_empty() => {
                work.slice = None;
                return true;
            }
            Some(_) => {
                work.stage = Stage::Head;
                return true;
            }
        }
        let mut said: Vec<Line> = work.todo.drain(..).collect();
        let payload = work.take_burst(Fork::Data, ONE_PIECE_MAX);
        let mut end: Vec<Line> = work.todo.drain(..).collect();
        if self.finishing && self.queue.is_empty() {
            self.quit_said = true;
            end.push(quit());
        }
        let data = (At::Data, format!("DATA {}", payload.len()));
        let mut parts: Vec<Part> = Vec::with_capacity(said.len() + end.len() + 2);
        if payload.is_empty() {
            said.append(&mut end);
        } else {
            said.push(data);
        }
        for (at, line) in said {
            self.awaited.push_back(at);
            parts.push(Part::Line(line));
        }
        if !payload.is_empty() {
            self.awaited.push_back(At::Burst);
            parts.push(Part::Payload(payload));
        }
        for (at, line) in end {
            self.awaited.push_back(at);
            parts.push(Part::Line(line));
        }
        self.send(parts);
        true
    }

    /// Says that a burst comes; towards servers that do not mind, with the burst.
    fn burst(&mut self, server: Server, fork: Fork) -> bool {
        let Some(work) = &mut self.work else { return false };
        let length = work
            .slice
            .as_ref()
            .map_or(0, |(slice, _)| slice.len())
            .min(server.max_burst);
        if length == 0 {
            work.take_burst(fork, 0);
            return true;
        }
        let line = match fork {
            Fork::Data => format!("DATA {length}"),
            Fork::Aux => format!("AUXDATA {length}"),
        };
        if !server.pipelined && server.manner.level > 1 {
            work.stage = Stage::Go(fork);
            self.say([(At::Data, line)]);
            return true;
        }
        let payload = work.take_burst(fork, server.max_burst);
        if server.pipelined {
            self.awaited.push_back(At::Data);
        }
        self.awaited.push_back(At::Burst);
        self.send([Part::Line(line), Part::Payload(payload)]);
        true
    }

    pub(super) fn want_body(&self) -> Option<Action> {
        let (work, server) = (self.work.as_ref()?, self.server?);
        let compares = work.stage == Stage::Head;
        if work.settled || work.slice.is_some() && !compares {
            return None;
        }
        match work.stage {
            Stage::Gather => Some(Action::WantBody {
                fork: Fork::Data,
                most: ONE_PIECE_MAX,
            }),
            Stage::Body(fork) if work.todo.is_empty() && server.may_burst(&self.awaited) => {
                Some(Action::WantBody {
                    fork,
                    most: server.max_burst,
                })
            }
            Stage::Head if work.held != Held::Nothing && self.awaited.is_empty() => {
                Some(Action::WantPrefix(work.held))
            }
            Stage::Head | Stage::Body(_) | Stage::Go(_) | Stage::Tail | Stage::Abort => None,
        }
    }

    pub(super) fn say(&mut self, lines: impl IntoIterator<Item = Line>) {
        let (places, lines): (Vec<At>, Vec<Part>) =
            lines.into_iter().map(|(at, line)| (at, Part::Line(line))).unzip();
        self.awaited.extend(places);
        self.send(lines);
    }

    /// Sends in as few writes as there are; a large payload is not copied for that.
    pub(super) fn send(&mut self, parts: impl IntoIterator<Item = Part>) {
        let mut bytes = BytesMut::new();
        for part in parts {
            match part {
                Part::Line(line) => {
                    bytes.extend_from_slice(line.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                    if self.options.transcript {
                        self.event(Event::Sent(line));
                    }
                }
                Part::Payload(payload) => {
                    if self.options.transcript {
                        self.event(Event::Sent(format!("[{} bytes]", payload.len())));
                    }
                    if payload.len() <= ONE_PIECE_MAX {
                        bytes.extend_from_slice(&payload);
                    } else {
                        if !bytes.is_empty() {
                            self.out.push_back(Action::Send(bytes.split().freeze()));
                        }
                        self.out.push_back(Action::Send(payload));
                    }
                }
            }
        }
        if !bytes.is_empty() {
            self.out.push_back(Action::Send(bytes.freeze()));
        }
    }
}

impl Server {
    fn may_burst(&self, awaited: &VecDeque<At>) -> bool {
        awaited.is_empty() || self.pipelined && awaited.len() < WINDOW
    }
}

impl Work {
    /// The server says what it has of the file. Of a file that is on its way as a whole, that comes too late.
    pub(super) fn heard_of(&mut self, held: Held) {
        let sensible = held != Held::All || self.digested;
        if sensible && self.stage == Stage::Head {
            self.held = held;
        }
    }

    /// Goes on behind what the server has; at which byte, unless that is all of it.
    pub(super) fn resume(&mut self, held: Held) -> Option<u64> {
        self.slice = None;
        match held {
            Held::Part(part) => {
                let line = format!("META OFFSET {}", part.bytes);
                self.todo.push_back((At::Attribute, line));
                Some(part.bytes)
            }
            Held::Nothing | Held::All => {
                self.stage = Stage::Tail;
                self.todo.push_back((At::Eof, "EOF".to_owned()));
                None
            }
        }
    }

    /// Takes the next burst (at most `most` bytes) off the slice. After the last one of the last fork, what is left to
    /// say is in `todo`.
    pub(super) fn take_burst(&mut self, fork: Fork, most: usize) -> Bytes {
        let (mut slice, last) = self.slice.take().unwrap_or_default();
        let burst = slice.split_to(most.min(slice.len()));
        self.stage = Stage::Body(fork);
        if !slice.is_empty() {
            self.slice = Some((slice, last));
        } else if last && fork == Fork::Data && self.aux {
            self.stage = Stage::Body(Fork::Aux);
        } else if last {
            self.stage = Stage::Tail;
            self.todo.extend(self.late.drain(..));
            self.todo.push_back((At::Eof, "EOF".to_owned()));
        }
        burst
    }
}

fn has_digest(delivery: &Delivery) -> bool {
    let mut keys = delivery.attributes.iter().map(|attribute| attribute.key.as_str());
    keys.any(|key| key == "DIGEST")
}

fn quit() -> Line {
    (At::Quit, "QUIT".to_owned())
}
