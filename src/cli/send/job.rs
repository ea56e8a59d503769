//! `sendfile --sift`: the file with everything that is said of it, as a SIFT job instead of a transfer.
//!
//! A job says how long the file is and what its digest is, before the file: its bytes are gathered first, beside the place
//! where the job goes. Whoever looks there sees a whole job or none: it gets its name when it is complete, and never that
//! of something else.
//! What it does *not* do: send it (`uft submit` does), or look at the recipient more than its form.

use std::fs::{File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use uft_spool::{Attribute, Facts, Measure, Origin, Proof};

use super::carry::Outgoing;
use crate::cli::exit::{Exit, Failure, reason};
use crate::cli::form::Meter;
use crate::client::Parcel;
use crate::display::shown;
use crate::sift;

/// Writes the job of one parcel; how long the file is, and its digest.
pub(super) async fn write(outgoing: Outgoing, path: &Path) -> Result<Measure, Failure> {
    let Outgoing {
        parcel,
        mut body,
        reader,
        ..
    } = outgoing;
    let target = Target::new(path)?;
    let gathered = tokio::task::spawn_blocking(move || -> Result<_, Failure> {
        let mut bytes = target.beside()?;
        let mut meter = Meter::default();
        while let Some(piece) = body.blocking_recv() {
            // Why the bytes ended early the reader says itself.
            let piece = piece.map_err(|err| Failure::new(Exit::NoInput, shown(&err.message)))?;
            meter.add(&piece);
            bytes.write_all(&piece).map_err(|err| target.failed(&err))?;
        }
        Ok((target, bytes, meter.end()))
    })
    .await;
    match reader.await {
        Ok(Ok(_)) => {}
        Ok(Err(failure)) => return Err(failure),
        Err(broken) => return Err(Failure::new(Exit::Io, format!("reading broke off: {broken}"))),
    }
    let ended = |broken| Failure::new(Exit::Io, format!("writing broke off: {broken}"));
    let (target, bytes, measure) = gathered.map_err(ended)??;
    tokio::task::spawn_blocking(move || target.put(&parcel, bytes, &measure).map(|()| measure))
        .await
        .map_err(ended)?
}

/// Where a job goes.
enum Target {
    /// Standard output.
    Output,
    /// Something that is there and is no file: a pipe, a device.
    Stream(PathBuf),
    /// A file that is not there yet.
    File(PathBuf),
}

impl Target {
    fn new(path: &Path) -> Result<Target, Failure> {
        if path == Path::new("-") {
            return Ok(Target::Output);
        }
        match path.metadata() {
            Ok(found) if found.is_file() || found.is_dir() => Err(exists(path)),
            Ok(_) => Ok(Target::Stream(path.to_owned())),
            Err(_) => Ok(Target::File(path.to_owned())),
        }
    }

    /// A file without a name on the same disk, or among the temporary ones.
    fn beside(&self) -> Result<File, Failure> {
        match self {
            Target::File(path) => tempfile::tempfile_in(directory(path)),
            Target::Output | Target::Stream(_) => tempfile::tempfile(),
        }
        .map_err(|err| self.failed(&err))
    }

    fn put(&self, parcel: &Parcel, mut bytes: File, measure: &Measure) -> Result<(), Failure> {
        let mut write = |out: &mut dyn Write| {
            let aux = parcel.aux.as_ref();
            let head = sift::head(
                &facts(parcel),
                &parcel.to,
                measure,
                aux.map(|aux| aux.len() as u64),
            );
            out.write_all(&head)?;
            if let Some(aux) = aux {
                out.write_all(aux)?;
                out.write_all(sift::DATA)?;
            }
            bytes.rewind()?;
            io::copy(&mut bytes, out)?;
            out.flush()
        };
        let written = match self {
            Target::Output => return write(&mut io::stdout().lock()).map_err(|err| Failure::output(&err)),
            Target::Stream(path) => File::options()
                .write(true)
                .open(path)
                .and_then(|mut out| write(&mut out)),
            Target::File(path) => return self.put_file(path, &mut write),
        };
        written.map_err(|err| self.failed(&err))
    }

    fn put_file(
        &self,
        path: &Path,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        // Permissions of any new file: less the umask. Others may have to read it.
        let mut file = tempfile::Builder::new()
            .prefix(".uft-")
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory(path))
            .map_err(|err| self.failed(&err))?;
        let whole = write(file.as_file_mut()).and_then(|()| file.as_file().sync_all());
        whole.map_err(|err| self.failed(&err))?;
        let named = NamedTempFile::persist_noclobber(file, path).map_err(|err| err.error);
        match named {
            Ok(_) => Ok(()),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
            Err(err) => Err(self.failed(&err)),
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let path = match self {
            Target::Output => "the temporary directory".to_owned(),
            Target::Stream(path) | Target::File(path) => path.display().to_string(),
        };
        Failure::new(
            Exit::CannotCreate,
            format!("cannot write {}: {}", shown(&path), reason(error)),
        )
    }
}

fn exists(path: &Path) -> Failure {
    let path = shown(&path.display().to_string());
    Failure::new(Exit::CannotCreate, format!("{path} exists")).hint("name a file that is not there yet")
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// What a parcel says, as the record of an item has it.
fn facts(parcel: &Parcel) -> Facts {
    let attributes = parcel.attributes.iter();
    Facts {
        name: parcel.name.clone(),
        spec: parcel.spec.clone(),
        stored_as: parcel.spec.file_type,
        origin: Origin {
            user: parcel.from.clone(),
            node: None,
            host: String::new(),
            proof: Proof::Local,
        },
        received: 0,
        attributes: attributes
            .map(|(key, value)| Attribute {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        xid: parcel.xid.clone(),
        exact: true,
        notes: Vec::new(),
        receipt: None,
    }
}
