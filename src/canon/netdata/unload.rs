//! The unload of a partitioned data set (IEBCOPY): a library as the records of a file of a stream.
//!
//! | part | bytes | fields |
//! |---|---|---|
//! | COPYR1 | 56 | 0: flags, 01 PDSE; 1: CA 6D 0F; 6: block size; 8: record length; 10: record format; 26: tracks a cylinder |
//! | COPYR2 | 276 | 16: 16 extents of 16 bytes, each 6: first cylinder (2) and track (2), 14: tracks (2) |
//! | blocks | 12 + key + data | 0: flags, 04 attributes of a PDSE; 4: cylinder (2), track (2), record (1); 9: length of key (1), of data (2) |
//!
//! The first blocks are the directory (`directory.rs`), up to one without key and data. The data of a member are the blocks up
//! to one without data. Which member they are says their place, which the extents make relative to the beginning; where they
//! do not say, as they are, or else the order. The blocks are those of the disk, with the records inside them:
//!
//! | library | block | records |
//! |---|---|---|
//! | F | any | pieces of the record length |
//! | V | length with itself (4), then headers (4) that add up | what is behind each header |
//! | V | headers that add up, without the length | the same |
//! | VS | length with itself (4), then segments that add up | what the segments make together (`spanned.rs`) |
//! | V | anything else | the block, counted as odd |
//! | U | any | the block |
//!
//! What it does *not* do: link load modules, or follow notelists. Sources: z/OS DFSMSdfp Utilities, "Unload data set
//! format"; unloads of z/OS and MVS 3.8.

use std::ops::Range;

use super::Limits;
use super::deblock::{self, HEADER, headers_add_up};
use super::directory::{Directory, Member};
use super::error::{Fault, UnloadFault};
use super::format::{Form, Recfm};
use super::spanned::{self, Made, Spanned, segments_add_up};

const COPYR1: usize = 56;
const COPYR2: usize = 276;
const HEAD: usize = 12;
const EYE_CATCHER: [u8; 3] = [0xca, 0x6d, 0x0f];
const ATTRIBUTES: u8 = 0x04;

/// What comes next in a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnloadEvent<'a> {
    /// The members, in the order of their data.
    Directory(&'a [Member]),
    /// The data of a member begin.
    Member(&'a Member),
    /// A record of the member.
    Record(&'a [u8]),
    /// The member is complete.
    MemberEnd,
}

/// What a library turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UnloadTally {
    /// Members with data.
    pub members: u64,
    /// Members of the directory whose data did not come.
    pub missing: u64,
    /// Data that no entry of the directory claims.
    pub unlisted: u64,
    /// Members told by their order, because their place said nothing.
    pub by_order: u64,
    /// Blocks of variable records that do not add up, each kept as one record.
    pub odd: u64,
    /// Spanned records that lack a segment.
    pub broken: u64,
    /// The last member has no end mark.
    pub unended: bool,
}

impl UnloadTally {
    /// What the recipient should know.
    pub fn notes(&self) -> Vec<String> {
        let notes = [
            (self.missing, "members of the directory have no data"),
            (self.unlisted, "members have no entry in the directory"),
            (
                self.odd,
                "blocks were kept as one record: the lengths in them do not add up",
            ),
            (self.broken, "spanned records lack a part"),
            (u64::from(self.unended), "member at the end has no end mark"),
        ];
        let notes = notes.into_iter().filter(|(count, _)| *count > 0);
        notes.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// A streaming reader of a library: the records of a [`FileKind::Library`](super::FileKind::Library) in, members out.
/// Memory: the directory and a block. After an error it is of no further use.
///
/// ```
/// use uft::canon::netdata::{Event, Limits, Reader, Unload, UnloadEvent};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wire = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/netdata/v21-library.nd"));
///
/// let (mut reader, mut unload) = (Reader::new(Limits::default()), Unload::new(Limits::default()));
/// let (mut rest, mut names) = (wire.as_slice(), Vec::new());
/// while let Some(event) = reader.next(&mut rest)? {
///     let Event::Record(mut record) = event else { continue };
///     while let Some(event) = unload.next(&mut record)? {
///         if let UnloadEvent::Member(member) = event {
///             names.push(format!("{} {:?}", member.name.as_deref().unwrap_or("?"), member.aliases));
///         }
///     }
/// }
/// assert_eq!(names, [r#"BETA ["ALSO"]"#, "ALPHA []", "EMPTY []"]);
/// assert_eq!(unload.finish()?.members, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Unload {
    limits: Limits,
    part: Part,
    /// Bytes of the part so far.
    bytes: Vec<u8>,
    pdse: bool,
    recfm: Recfm,
    lrecl: usize,
    places: Places,
    directory: Option<Directory>,
    /// Members by place; those whose data have come.
    ttrs: Vec<u32>,
    members: Vec<Member>,
    seen: Vec<bool>,
    /// The first member that may be unseen.
    first_unseen: usize,
    unlisted: Member,
    open: bool,
    /// Records of the block in `bytes` that have not been handed out.
    todo: Todo,
    spanned: Spanned,
    tally: UnloadTally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Copyr1,
    Copyr2,
    Head,
    /// Key and data of a block.
    Body {
        flags: u8,
        place: [u8; 5],
        key: u8,
        data: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Todo {
    Read,
    /// Records at this place of `bytes`, so long or behind headers.
    Records {
        rest: Range<usize>,
        length: Option<usize>,
    },
    /// Segments of records at this place of `bytes`.
    Segments(Range<usize>),
}

/// Where a record is.
enum Piece {
    Block(Range<usize>),
    Spanned,
}

impl Unload {
    /// A reader of one library.
    pub fn new(limits: Limits) -> Unload {
        Unload {
            limits,
            part: Part::Copyr1,
            bytes: Vec::new(),
            pdse: false,
            recfm: Recfm::default(),
            lrecl: 0,
            places: Places::default(),
            directory: Some(Directory::default()),
            ttrs: Vec::new(),
            members: Vec::new(),
            seen: Vec::new(),
            first_unseen: 0,
            unlisted: Member {
                name: None,
                aliases: Vec::new(),
                statistics: None,
            },
            open: false,
            todo: Todo::Read,
            spanned: Spanned::default(),
            tally: UnloadTally::default(),
        }
    }

    /// The format of the records of all members, once the first event has come.
    pub fn recfm(&self) -> Recfm {
        self.recfm
    }

    /// The next event; `None` when the bytes are used up and more are needed.
    ///
    /// # Errors
    /// The library is damaged, or beyond a limit.
    pub fn next<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<UnloadEvent<'a>>, Fault> {
        loop {
            match self.piece()? {
                Some(Piece::Block(record)) => return Ok(self.bytes.get(record).map(UnloadEvent::Record)),
                Some(Piece::Spanned) => return Ok(Some(UnloadEvent::Record(self.spanned.record()))),
                None => {}
            }
            let complete = self.collect(input);
            if !complete {
                return Ok(None);
            }
            match self.part {
                Part::Copyr1 => self.copyr1()?,
                Part::Copyr2 => {
                    self.places.extents(&self.bytes);
                    self.begin(Part::Head);
                }
                Part::Head => self.head(),
                Part::Body {
                    flags,
                    place,
                    key,
                    data,
                } => {
                    if let Some(directory) = &mut self.directory {
                        match (key, data) {
                            (8, 256) => {
                                directory.block(self.bytes.get(8..).unwrap_or_default(), &self.limits)?;
                                self.begin(Part::Head);
                                continue;
                            }
                            (0, 0) => self.begin(Part::Head),
                            // The end mark is missing: this block stays where it is, it is the first of a member.
                            _ if directory.is_complete() => {}
                            _ => return Err(UnloadFault::DirectoryBlock { key, data }.into()),
                        }
                        (self.ttrs, self.members) = self.directory.take().unwrap_or_default().into_members();
                        self.seen = vec![false; self.members.len()];
                        return Ok(Some(UnloadEvent::Directory(&self.members)));
                    }
                    if self.pdse && flags & ATTRIBUTES != 0 {
                        self.begin(Part::Head);
                        continue;
                    }
                    if !self.open {
                        let Some(member) = self.member(place, data)? else {
                            self.begin(Part::Head);
                            continue;
                        };
                        self.open = true;
                        self.tally.members += 1;
                        return Ok(Some(UnloadEvent::Member(
                            self.members.get(member).unwrap_or(&self.unlisted),
                        )));
                    }
                    if data == 0 {
                        // The end mark stays until the last record is out.
                        if self.spanned.close() {
                            return Ok(Some(UnloadEvent::Record(self.spanned.record())));
                        }
                        self.begin(Part::Head);
                        self.open = false;
                        return Ok(Some(UnloadEvent::MemberEnd));
                    }
                    self.records(usize::from(key));
                }
            }
        }
    }

    /// The end of the library.
    ///
    /// # Errors
    /// It ends inside its directory, a block or a spanned record.
    pub fn finish(self) -> Result<UnloadTally, Fault> {
        let what = match (self.part, &self.directory) {
            (Part::Copyr1 | Part::Copyr2, _) => Some("its header"),
            (Part::Body { .. }, _) => Some("a block"),
            (Part::Head, _) if !self.bytes.is_empty() => Some("a block"),
            (Part::Head, Some(directory)) if !directory.is_complete() => Some("its directory"),
            // Its last part can come no more, and what there is of it was not handed out.
            (Part::Head, _) if self.spanned.is_open() => Some("a record"),
            (Part::Head, _) => None,
        };
        if let Some(what) = what {
            return Err(UnloadFault::Truncated { what }.into());
        }
        let missing = self.seen.iter().filter(|seen| !**seen).count() as u64;
        Ok(UnloadTally {
            missing,
            unended: self.open,
            broken: self.spanned.broken(),
            ..self.tally
        })
    }

    fn begin(&mut self, part: Part) {
        self.part = part;
        self.bytes.clear();
    }

    /// Whether the part is complete.
    fn collect(&mut self, input: &mut &[u8]) -> bool {
        let need = match self.part {
            Part::Copyr1 => COPYR1,
            Part::Copyr2 => COPYR2,
            Part::Head => HEAD,
            Part::Body { key, data, .. } => usize::from(key) + usize::from(data),
        };
        let missing = need.saturating_sub(self.bytes.len());
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        self.bytes.extend_from_slice(taken);
        *input = rest;
        self.bytes.len() >= need
    }

    fn copyr1(&mut self) -> Result<(), Fault> {
        let short = |at: usize| {
            self.bytes
                .get(at..)?
                .first_chunk()
                .map(|two| u16::from_be_bytes(*two))
        };
        if self.bytes.get(1..4) != Some(EYE_CATCHER.as_slice()) {
            return Err(UnloadFault::NoHeader.into());
        }
        let lrecl = short(8).unwrap_or_default();
        let recfm = short(10).unwrap_or_default() & 0xff00;
        let tracks = short(26).unwrap_or_default();
        self.pdse = self.bytes.first().is_some_and(|flags| flags & 0x01 != 0);
        self.lrecl = usize::from(lrecl);
        self.recfm = Recfm(recfm);
        self.places.tracks_a_cylinder = u32::from(tracks);
        self.begin(Part::Copyr2);
        Ok(())
    }

    fn head(&mut self) {
        if let [flags, _, _, _, place @ .., key, high, low] = self.bytes.as_slice()
            && let Ok(place) = <[u8; 5]>::try_from(place)
        {
            let part = Part::Body {
                flags: *flags,
                place,
                key: *key,
                data: u16::from_be_bytes([*high, *low]),
            };
            self.begin(part);
        }
    }

    /// The member whose data begin at a place: its index, that of none for data without an entry. `None`: padding.
    ///
    /// # Errors
    /// Its data have come already.
    fn member(&mut self, place: [u8; 5], data: u16) -> Result<Option<usize>, Fault> {
        let by_place = self
            .places
            .candidates(place)
            .into_iter()
            .flatten()
            .find_map(|ttr| self.ttrs.binary_search(&ttr).ok());
        let index = match by_place {
            Some(index) if self.seen.get(index) == Some(&true) => {
                // An end mark more than needed stands where the member before it does.
                if data == 0 {
                    return Ok(None);
                }
                let name = self.members.get(index).and_then(|member| member.name.clone());
                let name = name.unwrap_or_default();
                return Err(UnloadFault::MemberTwice { name }.into());
            }
            Some(index) => index,
            None if place == [0; 5] && data == 0 => return Ok(None),
            None => {
                while self.seen.get(self.first_unseen) == Some(&true) {
                    self.first_unseen += 1;
                }
                match self.first_unseen < self.members.len() {
                    true => self.tally.by_order += 1,
                    false if data == 0 => return Ok(None),
                    false => self.tally.unlisted += 1,
                }
                self.first_unseen
            }
        };
        if let Some(seen) = self.seen.get_mut(index) {
            *seen = true;
        }
        Ok(Some(index))
    }

    /// Sets out to hand out the records of the block behind its key.
    fn records(&mut self, key: usize) {
        let block = self.bytes.get(key..).unwrap_or_default();
        let length = block.len();
        let whole = (key, Some(length));
        let (from, length) = match self.recfm.form() {
            Form::Fixed if self.lrecl > 0 => (key, Some(self.lrecl)),
            Form::Fixed | Form::Undefined => whole,
            Form::Variable => match deblock::next(block) {
                Some((inside, [])) if self.recfm.is_spanned() && segments_add_up(inside) => {
                    self.todo = Todo::Segments(key + HEADER..self.bytes.len());
                    return;
                }
                Some((inside, [])) if headers_add_up(inside) => (key + HEADER, None),
                Some(_) if !self.recfm.is_spanned() && headers_add_up(block) => (key, None),
                _ => {
                    self.tally.odd += 1;
                    whole
                }
            },
        };
        let rest = from..self.bytes.len();
        self.todo = Todo::Records { rest, length };
    }

    /// The next record of the block; after the last the block is done.
    ///
    /// # Errors
    /// It is longer than the limit.
    fn piece(&mut self) -> Result<Option<Piece>, Fault> {
        match &self.todo {
            Todo::Read => Ok(None),
            Todo::Records { .. } => Ok(self.record().map(Piece::Block)),
            Todo::Segments(_) => self.segments(),
        }
    }

    fn segments(&mut self) -> Result<Option<Piece>, Fault> {
        while let Todo::Segments(rest) = &mut self.todo {
            let block = self.bytes.get(rest.clone()).unwrap_or_default();
            let Some((part, data, length)) = spanned::next(block) else {
                break;
            };
            let segment = rest.start + HEADER..rest.start + length;
            let made = self.spanned.take(part, data, self.limits.record)?;
            if made != Made::Before {
                rest.start += length;
            }
            match made {
                Made::Nothing => {}
                Made::Itself => return Ok(Some(Piece::Block(segment))),
                Made::Joined | Made::Before => return Ok(Some(Piece::Spanned)),
            }
        }
        self.todo = Todo::Read;
        self.begin(Part::Head);
        Ok(None)
    }

    fn record(&mut self) -> Option<Range<usize>> {
        let Todo::Records { rest, length } = &mut self.todo else {
            return None;
        };
        let record = match length {
            Some(length) if rest.start < rest.end => {
                let end = rest.end.min(rest.start.saturating_add(*length));
                let record = rest.start..end;
                rest.start = end;
                Some(record)
            }
            Some(_) => None,
            None => self
                .bytes
                .get(rest.clone())
                .and_then(deblock::next)
                .map(|(record, after)| {
                    let end = rest.end - after.len();
                    rest.start = end;
                    end - record.len()..end
                }),
        };
        if record.is_none() {
            self.todo = Todo::Read;
            self.begin(Part::Head);
        }
        record
    }
}

/// Where on the disk the library was.
#[derive(Debug, Default)]
struct Places {
    tracks_a_cylinder: u32,
    /// First track, from the beginning of the disk, and number of tracks.
    extents: Vec<(u32, u32)>,
}

impl Places {
    fn extents(&mut self, copyr2: &[u8]) {
        let extents = copyr2.get(16..).unwrap_or_default().as_chunks::<16>().0;
        for extent in extents {
            let [_, _, _, _, _, _, c1, c2, h1, h2, _, _, _, _, t1, t2] = *extent;
            let tracks = u32::from(u16::from_be_bytes([t1, t2]));
            let first = self.track([c1, c2, h1, h2]);
            if tracks > 0 {
                self.extents.push((first, tracks));
            }
        }
    }

    fn track(&self, [c1, c2, h1, h2]: [u8; 4]) -> u32 {
        let (cylinder, head) = (u16::from_be_bytes([c1, c2]), u16::from_be_bytes([h1, h2]));
        u32::from(cylinder) * self.tracks_a_cylinder + u32::from(head)
    }

    /// What the directory may call a place: relative track and record; else track and record as they are, which is what
    /// those write who have no disk.
    fn candidates(&self, [c1, c2, h1, h2, record]: [u8; 5]) -> [Option<u32>; 2] {
        let track = self.track([c1, c2, h1, h2]);
        let mut before = 0;
        let relative = self.extents.iter().find_map(|&(first, tracks)| {
            let inside = track.checked_sub(first).filter(|&inside| inside < tracks);
            let relative = inside.map(|inside| before + inside);
            before += tracks;
            relative
        });
        let relative = relative.map(|track| (track << 8) | u32::from(record));
        let plain = u32::from_be_bytes([0, h1, h2, record]);
        [relative, relative.is_none().then_some(plain)]
    }
}
