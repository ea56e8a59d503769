//! Through a transmission and, if wanted, through the members of its libraries: every record with the file that it is of.
//!
//! What it does *not* do: keep anything, or say what a damaged library still holds (`Survey` is asked first).

use crate::canon::netdata::{
    Error, Event, FileInfo, FileKind, Limits, Member, Reader, Recfm, Sniffer, Unload, UnloadEvent,
};
use crate::cli::exit::{Exit, Failure};

/// What comes next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A file begins; of a library that is expanded, the members follow.
    File(&'a FileInfo),
    /// A member of the library begins.
    Member(&'a Member, Recfm),
    /// A record of what has begun.
    Record(&'a [u8]),
    /// What has begun is complete.
    End,
}

/// A walk through one transmission.
#[derive(Debug)]
pub(super) struct Walk {
    reader: Reader,
    limits: Limits,
    members: bool,
    library: Option<Unload>,
}

impl Walk {
    /// A walk; `members`: libraries are expanded.
    pub(super) fn new(members: bool) -> Walk {
        let limits = Limits::default();
        Walk {
            reader: Reader::new(limits),
            limits,
            members,
            library: None,
        }
    }

    /// Hands everything in the next bytes to `sink`.
    pub(super) fn feed(
        &mut self,
        wire: &[u8],
        sink: &mut dyn FnMut(Step<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = wire;
        while let Some(event) = self.reader.next(&mut rest).map_err(|e| fault(&e))? {
            match event {
                Event::FileStart(info) => {
                    let expand = self.members && info.kind == FileKind::Library;
                    self.library = expand.then(|| Unload::new(self.limits));
                    sink(Step::File(info))?;
                }
                Event::Record(record) => match &mut self.library {
                    Some(library) => through(library, record, sink)?,
                    None => sink(Step::Record(record))?,
                },
                Event::FileEnd(_) => {
                    self.library = None;
                    sink(Step::End)?;
                }
                Event::Control(_) | Event::Header(_) | Event::Ack(_) | Event::End => {}
            }
        }
        Ok(())
    }

    /// The end of the bytes.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        self.reader.finish().map_err(|e: Error| fault(&e))
    }
}

fn through(
    library: &mut Unload,
    record: &[u8],
    sink: &mut dyn FnMut(Step<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut rest = record;
    loop {
        // Every event is of a member or of the directory, by when the format is known.
        let recfm = library.recfm();
        match library.next(&mut rest).map_err(|e| fault(&e))? {
            None => return Ok(()),
            Some(UnloadEvent::Directory(_)) => {}
            Some(UnloadEvent::Member(member)) => sink(Step::Member(member, recfm))?,
            Some(UnloadEvent::Record(record)) => sink(Step::Record(record))?,
            Some(UnloadEvent::MemberEnd) => sink(Step::End)?,
        }
    }
}

/// A fault of a transmission that was sound a moment ago is one of the disk.
pub(super) fn fault(what: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Io,
        format!("the transmission changed while it was read: {what}"),
    )
    .hint("the item stays in the inbox")
}

/// Which members look like text, in the order of their data.
#[derive(Debug, Default)]
pub(super) struct MemberTexts {
    /// One for each member.
    pub(super) texts: Vec<bool>,
    sniffer: Option<Sniffer>,
}

impl MemberTexts {
    /// Looks at a step of a walk.
    pub(super) fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Member(_, recfm) => self.sniffer = Some(Sniffer::of_recfm(*recfm)),
            Step::Record(record) => {
                if let Some(sniffer) = &mut self.sniffer {
                    sniffer.record(record);
                }
            }
            Step::File(_) | Step::End => {
                let sniffer = self.sniffer.take();
                self.texts.extend(sniffer.map(|sniffer| sniffer.is_text()));
            }
        }
    }
}
