//! What the tests of the spool have in common: one way to make a delivery, one way to check an item.

use std::io::Read;

use uft_spool::{
    Committed, Delivery, Error, Facts, FileType, Form, Job, Limits, Origin, Placed, Proof, Spool, SpoolId,
    TypeSpec, UserName,
};

pub(crate) const LIMITS: Limits = Limits {
    max_file: 1 << 30,
    user_bytes: 1 << 40,
    user_items: 1 << 30,
    min_free: 0,
    stranger_bytes: 1 << 40,
    stranger_items: 1 << 30,
};

/// An empty directory, in memory where that can be had: these tests sync a thousand times what no power cut awaits.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub(crate) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(crate) fn id(n: u64) -> SpoolId {
    SpoolId::new(n).unwrap()
}

pub(crate) fn facts(xid: Option<&str>) -> Facts {
    Facts {
        name: Some("report.txt".into()),
        spec: TypeSpec::plain(FileType::I),
        stored_as: FileType::I,
        origin: Origin {
            user: "maint".into(),
            node: None,
            host: "192.0.2.1".into(),
            proof: Proof::Address,
        },
        received: 1_795_218_990,
        attributes: vec![],
        xid: xid.map(str::to_owned),
        exact: true,
        notes: vec![],
        receipt: None,
    }
}

/// What to deliver.
#[derive(Clone, Default)]
pub(crate) struct Parcel<'a> {
    pub(crate) to: Vec<UserName>,
    pub(crate) local: &'a [u8],
    pub(crate) wire: Option<&'a [u8]>,
    pub(crate) aux: Option<&'a [u8]>,
    pub(crate) xid: Option<&'a str>,
    pub(crate) jobs: Vec<Job>,
}

impl Parcel<'_> {
    pub(crate) fn commit(&self, spool: &Spool) -> Result<Committed, Error> {
        let owners: Vec<_> = self.jobs.iter().map(|job| job.owner.clone()).collect();
        let reservation = spool.reserve(&self.to, &owners, None, None)?;
        let stage = |bytes: &[u8]| {
            let mut staged = spool.stage(&reservation);
            staged.write(bytes).map(|()| staged)
        };
        let (local, wire, aux) = match self.wire {
            Some(wire) => {
                let wire = stage(wire)?;
                let mut local = spool.stage(&reservation).unmetered();
                local.write(self.local)?;
                (local, Some(wire), self.aux.map(stage).transpose()?)
            }
            None => (stage(self.local)?, None, self.aux.map(stage).transpose()?),
        };
        let wire_measure = wire.as_ref().unwrap_or(&local).measure();
        spool.commit(Delivery {
            to: self.to.clone(),
            jobs: self.jobs.clone(),
            local,
            wire,
            wire_measure,
            aux,
            facts: facts(self.xid),
            reservation,
        })
    }

    pub(crate) fn job_ids(&self, spool: &Spool) -> Vec<SpoolId> {
        match self.commit(spool).unwrap() {
            Committed::Stored(placed) => placed.queue,
            Committed::Repeat(placed) => panic!("a repeat of {placed:?}"),
        }
    }

    pub(crate) fn ids(&self, spool: &Spool) -> Vec<SpoolId> {
        match self.commit(spool).unwrap() {
            Committed::Stored(placed) => placed.inbox.into_iter().map(|(_, id)| id).collect(),
            Committed::Repeat(placed) => panic!("a repeat of {placed:?}"),
        }
    }
}

/// A job of a local user's, `user@place`.
pub(crate) fn job(address: &str) -> Job {
    let (to, place) = address.split_once('@').unwrap();
    Job {
        to: to.into(),
        place: place.into(),
        owner: Some(user("ann")),
        queued: 1_795_218_990,
        ..Job::default()
    }
}

/// What is to be queued for some addresses, with commas between them.
pub(crate) fn queued<'a>(addresses: &str, local: &'a [u8]) -> Parcel<'a> {
    Parcel {
        jobs: addresses.split(',').map(job).collect(),
        local,
        ..Parcel::default()
    }
}

pub(crate) fn read_job(spool: &Spool, id: SpoolId, form: Form) -> Result<Vec<u8>, Error> {
    let content = spool.open_job(id, form)?;
    let mut bytes = Vec::new();
    content.file.take(content.bytes).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, content.bytes);
    Ok(bytes)
}

/// What became of a delivery to inboxes alone.
pub(crate) fn in_inboxes(inbox: Vec<(UserName, SpoolId)>) -> Placed {
    Placed {
        inbox,
        ..Placed::default()
    }
}

pub(crate) fn parcel<'a>(to: &str, local: &'a [u8]) -> Parcel<'a> {
    Parcel {
        to: to.split(',').map(user).collect(),
        local,
        ..Parcel::default()
    }
}

pub(crate) fn read(spool: &Spool, user: &UserName, id: SpoolId, form: Form) -> Result<Vec<u8>, Error> {
    let content = spool.open_form(user, id, form)?;
    let mut bytes = Vec::new();
    content.file.take(content.bytes).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, content.bytes);
    Ok(bytes)
}

/// Reads an item with its forms and checks all digests.
pub(crate) fn check(spool: &Spool, user: &UserName, id: SpoolId) -> Result<Vec<u8>, Error> {
    let item = spool.item(user, id)?;
    let local = read(spool, user, id, Form::Local)?;
    assert_eq!(blake3::hash(&local), item.envelope.local.blake3);
    if item.envelope.wire_kept {
        assert_eq!(
            blake3::hash(&read(spool, user, id, Form::Wire)?),
            item.envelope.wire.blake3
        );
    }
    if let Some(aux) = item.envelope.aux {
        assert_eq!(blake3::hash(&read(spool, user, id, Form::Aux)?), aux.blake3);
    }
    Ok(local)
}
