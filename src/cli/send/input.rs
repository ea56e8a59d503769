//! What is sent: a file, a stream, or a directory; which type it is; and its bytes in the form of that type.
//!
//! What it does *not* do: connect, or name attributes (`metadata`).

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use uft_spool::FileType;

use super::archive;
use super::carry::Reader;
use super::metadata;
use super::netdata::{Shape, Transmission};
use crate::canon::netdata::Format;
use crate::canon::{Encoder, Misfit, Page, Policy, TextSniffer};
use crate::cli::exit::{Exit, Failure, reason};
use crate::client::{Body, BodyError};
use crate::display::shown;

/// The largest piece that is read and passed on, in bytes.
pub(super) const PIECE: usize = 1 << 20;
/// A stream that ends within this many bytes is examined and kept like a file.
const STREAM_KEPT: u64 = 1 << 20;

/// How a file becomes its wire form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coding {
    /// `None`: decided by the file.
    pub(crate) file_type: Option<FileType>,
    /// The bytes are the wire form already.
    pub(crate) raw: bool,
    /// For EBCDIC.
    pub(crate) page: Option<Page>,
    /// What becomes of characters that the page does not have.
    pub(crate) policy: Policy,
    /// It becomes NETDATA.
    pub(crate) netdata: Option<Shape>,
}

/// Something to send, opened and looked at.
#[derive(Debug)]
pub(crate) struct Input {
    /// As it was named on the command line.
    pub(crate) label: String,
    /// Name for the recipient, as it is in the file system.
    pub(crate) name: Option<String>,
    /// What the bytes are.
    pub(crate) file_type: FileType,
    /// Bytes before conversion, when known.
    pub(crate) size: Option<u64>,
    /// Date and permissions.
    pub(crate) attributes: Vec<(String, String)>,
    /// How it becomes NETDATA, and in what records.
    pub(crate) netdata: Option<(Shape, Format)>,
    /// The file as it was found, if it is one.
    pub(crate) source: Option<Metadata>,
    content: Content,
    coding: Coding,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File(Arc<File>),
    /// Readable once: what was read already, and the rest.
    Stream(Option<(Bytes, Stream)>),
    Directory(PathBuf),
}

/// A pipe, a terminal, a device.
type Stream = File;

impl Input {
    /// Opens what an argument names. `again`: it must be readable more than once.
    pub(crate) fn open(
        path: &Path,
        coding: Coding,
        archive: bool,
        again: bool,
        now: i64,
    ) -> Result<Input, Failure> {
        // What becomes NETDATA is read once more, before it is sent.
        let mut input = Input::found(path, coding, archive, again || coding.netdata.is_some(), now)?;
        if let Some(shape) = coding.netdata {
            let format = shape.format(input.reader()?, &input.label)?;
            input.netdata = Some((shape, format));
        }
        Ok(input)
    }

    fn found(path: &Path, coding: Coding, archive: bool, again: bool, now: i64) -> Result<Input, Failure> {
        let label = path.to_string_lossy().into_owned();
        let unreadable = |e: io::Error| unreadable(&path.display().to_string(), &e);
        if path == Path::new("-") {
            let stream = duplicate_of_stdin().map_err(unreadable)?;
            return Input::of_stream(label, None, stream, coding, again, now).map_err(unreadable);
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if path.metadata().map_err(unreadable)?.is_dir() {
            if !archive {
                return Err(Failure::usage(format!("{} is a directory", path.display()))
                    .hint("send it as one tar file with --archive"));
            }
            let found = path.metadata().map_err(unreadable)?;
            // Readable at all? Better known before the connection is made.
            path.read_dir().map_err(unreadable)?;
            let name = archive::root_name(path)?;
            let mut attributes = metadata::of_file(Some(&found), now);
            attributes.retain(|(key, _)| matches!(key.as_str(), "DATE" | "XDATE"));
            return Ok(Input {
                label,
                name: Some(format!("{}.tar", name.to_string_lossy())),
                file_type: coding.file_type.unwrap_or(FileType::I),
                size: None,
                attributes,
                netdata: None,
                source: None,
                content: Content::Directory(path.to_owned()),
                coding,
            });
        }
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Input::of_stream(label, name, file, coding, again, now).map_err(unreadable);
        }
        let file_type = match coding.file_type {
            Some(file_type) => file_type,
            None => sniff(&file).map_err(unreadable)?,
        };
        Ok(Input {
            label,
            name,
            file_type,
            size: Some(found.len()),
            attributes: metadata::of_file(Some(&found), now),
            netdata: None,
            source: Some(found),
            content: Content::File(Arc::new(file)),
            coding,
        })
    }

    fn of_stream(
        label: String,
        name: Option<String>,
        mut stream: Stream,
        coding: Coding,
        again: bool,
        now: i64,
    ) -> io::Result<Input> {
        let mut head = Vec::new();
        (&mut stream).take(STREAM_KEPT + 1).read_to_end(&mut head)?;
        let ended = head.len() as u64 <= STREAM_KEPT;
        let file_type = coding.file_type.unwrap_or_else(|| {
            let mut sniffer = TextSniffer::new();
            match ended && sniffer.feed(&head) && sniffer.finish() {
                true => FileType::A,
                false => FileType::I,
            }
        });
        let (content, size) = if ended {
            let size = head.len() as u64;
            (Content::Memory(head.into()), Some(size))
        } else if again {
            let mut kept = tempfile::tempfile()?;
            kept.write_all(&head)?;
            let rest = io::copy(&mut stream, &mut kept)?;
            kept.seek(SeekFrom::Start(0))?;
            let size = head.len() as u64 + rest;
            (Content::File(Arc::new(kept)), Some(size))
        } else {
            (Content::Stream(Some((head.into(), stream))), None)
        };
        Ok(Input {
            label,
            name,
            file_type,
            size,
            attributes: metadata::of_file(None, now),
            netdata: None,
            source: None,
            content,
            coding,
        })
    }

    /// Whether the bytes can be had once more.
    pub(crate) fn again(&self) -> bool {
        !matches!(self.content, Content::Stream(None))
    }

    /// The bytes from their beginning.
    fn reader(&mut self) -> Result<Box<dyn Read + Send>, Failure> {
        Ok(match &mut self.content {
            Content::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Content::File(file) => Box::new(FromStart {
                file: file.clone(),
                at: 0,
            }),
            Content::Stream(stream) => {
                let (head, rest) = stream.take().ok_or_else(|| {
                    Failure::new(
                        Exit::NoInput,
                        format!("{}: a stream can be read only once", self.label),
                    )
                    .hint("send it to one recipient, or from a file")
                })?;
                Box::new(io::Cursor::new(head).chain(rest))
            }
            Content::Directory(_) => {
                let text = format!("{} is a directory", self.label);
                return Err(Failure::usage(text).hint("send it as one tar file with --archive"));
            }
        })
    }

    /// Starts to read and convert.
    pub(crate) fn body(&mut self) -> Result<(Body, Reader), Failure> {
        if let Content::Directory(path) = &self.content {
            return Ok(archive_body(path.clone()));
        }
        let reader = self.reader()?;
        let encoder = (!self.coding.raw)
            .then(|| Encoder::new(self.file_type, self.coding.page, self.coding.policy, None));
        let label = self.label.clone();
        let (sender, body) = mpsc::channel(2);
        let size = self.size;
        let reader = tokio::task::spawn_blocking(move || {
            let mut out = Pieces { sender };
            pump(reader, size, encoder, &label, &mut out).inspect_err(|failure| out.fail(failure))
        });
        Ok((body, reader))
    }
}

/// Starts to read files and to make one transmission of them.
pub(crate) fn transmit(inputs: &mut [Input], transmission: &Transmission) -> Result<(Body, Reader), Failure> {
    let files = inputs
        .iter_mut()
        .map(|input| Ok((input.label.clone(), input.reader()?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let transmission = transmission.clone();
    let (sender, body) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || {
        let mut out = Pieces { sender };
        let pumped = transmission.pump(files, &mut out);
        pumped.inspect_err(|failure| out.fail(failure))
    });
    Ok((body, reader))
}

/// Standard input as a file of its own, so that it can be read on another thread.
fn duplicate_of_stdin() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The rule of `--type auto`: text only when the recipient gets the same bytes.
fn sniff(file: &File) -> io::Result<FileType> {
    let mut sniffer = TextSniffer::new();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let count = file.read_at(&mut buffer, at)?;
        if count == 0 {
            return Ok(if sniffer.finish() {
                FileType::A
            } else {
                FileType::I
            });
        }
        at += count as u64;
        if !sniffer.feed(buffer.get(..count).unwrap_or_default()) {
            return Ok(FileType::I);
        }
    }
}

/// A file read from its start, whatever others do with its offset.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Where the bytes go.
pub(crate) struct Pieces {
    pub(crate) sender: mpsc::Sender<Result<Bytes, BodyError>>,
}

impl Pieces {
    /// False when nobody takes them any more: the transfer has ended, and says itself why.
    pub(crate) fn give(&mut self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            if self.sender.blocking_send(Ok(piece)).is_err() {
                return false;
            }
        }
        true
    }

    /// The file ends here, and not as it should.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        let error = BodyError {
            message: failure.text.clone(),
            misfit: failure.exit == Exit::DataError,
        };
        // As for `give`.
        let _ = self.sender.blocking_send(Err(error));
    }
}

impl Drop for Pieces {
    /// The channel's end is the file's end: a reader that breaks off must not look like one that is done.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(&Failure::new(Exit::Io, "reading broke off"));
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.give(Bytes::copy_from_slice(buf)) {
            true => Ok(buf.len()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end; gives what the user should know.
fn pump(
    mut reader: impl Read,
    size: Option<u64>,
    mut encoder: Option<Encoder>,
    label: &str,
    out: &mut Pieces,
) -> Result<Vec<String>, Failure> {
    let unreadable = |e: io::Error| unreadable(label, &e);
    let misfit = |e: Misfit| misfit(&e, "send it as it is with -t I");
    // One byte more than the file is said to have: its end is then seen in the same pass.
    let piece = size.map_or(PIECE, |size| {
        usize::try_from(size)
            .unwrap_or(PIECE)
            .saturating_add(1)
            .min(PIECE)
    });
    loop {
        let mut buffer = vec![0; piece];
        let count = fill(&mut reader, &mut buffer).map_err(unreadable)?;
        let last = count < piece;
        buffer.truncate(count);
        let wire = match &mut encoder {
            Some(encoder) if encoder.converts() => {
                let mut wire = Vec::with_capacity(count + count / 16);
                encoder.feed(&buffer, &mut wire).map_err(misfit)?;
                wire
            }
            _ => buffer,
        };
        if !last {
            if !out.give(wire.into()) {
                return Ok(Vec::new());
            }
            continue;
        }
        let mut wire = wire;
        let notes = match encoder.take() {
            Some(encoder) => encoder.finish(&mut wire).map_err(misfit)?.notes,
            None => Vec::new(),
        };
        let _ = out.give(wire.into());
        return Ok(notes.into_iter().map(|note| format!("{label}: {note}")).collect());
    }
}

pub(super) fn unreadable(label: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::NoInput, format!("cannot read {label}: {}", reason(error)))
}

/// What does not fit, and what to do about it; `long`: about a line that is too long.
pub(super) fn misfit(misfit: &Misfit, long: &str) -> Failure {
    let advice = match misfit {
        Misfit::Character { .. } => "try --translit or --substitute, another --codepage, or -t I",
        Misfit::Byte { .. } => "the file must be UTF-8, or go as it is with -t I or --raw",
        Misfit::LineTooLong { .. } | Misfit::NoRecordLength => long,
    };
    Failure::new(Exit::DataError, shown(&misfit.to_string())).hint(advice)
}

/// Fills the buffer, or as much of it as there is before the end.
pub(super) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
        match reader.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn archive_body(path: PathBuf) -> (Body, Reader) {
    let (sender, body) = mpsc::channel(2);
    let reader = tokio::task::spawn_blocking(move || {
        let mut notes = Vec::new();
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces { sender });
        let written = archive::write(&path, &mut out, &mut |text| notes.push(text));
        // What the buffer still holds after a failure is not sent: the archive must not look whole.
        let (mut pieces, _unsent) = out.into_parts();
        written
            .inspect_err(|failure| pieces.fail(failure))
            .map(|()| notes)
    });
    (body, reader)
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
