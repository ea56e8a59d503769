//! Who has an inbox here: names and aliases, and the names of local processes.
//!
//! The only file that asks the system's account database. A look-up may block (the database can be a network
//! directory), so answers are remembered for a minute; what is remembered is bounded, since the names asked for are
//! the strangers' choice.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::{Uid, User};
use tracing::error;
use uft_spool::UserName;

use crate::config::{self, Source};

const REMEMBERED: Duration = Duration::from_secs(60);
const REMEMBERED_MAX: usize = 4096;
/// Debian's defaults, used when login.defs does not say.
const UIDS: RangeInclusive<u32> = 1000..=60_000;

/// The account database does not answer: a network directory that is away, mostly. Nobody is unknown because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account database does not answer: {0}")]
pub(crate) struct Unanswered(Errno);

/// Asks the system for the user id of a login name.
type LookUp = fn(&str) -> Result<Option<u32>, Unanswered>;

/// The users of this host, as configured.
#[derive(Debug)]
pub(crate) struct Directory {
    source: Source,
    list: BTreeSet<UserName>,
    aliases: HashMap<UserName, Vec<UserName>>,
    uids: RangeInclusive<u32>,
    known: Mutex<HashMap<UserName, (bool, Instant)>>,
    look_up: LookUp,
}

impl Directory {
    /// The directory that a configuration describes.
    pub(crate) fn new(users: &config::Users) -> Directory {
        let login_defs = std::fs::read_to_string("/etc/login.defs").unwrap_or_default();
        Directory {
            source: users.source,
            // Programs have inboxes as people have, whatever the source of those is.
            list: users.list.iter().chain(users.program.keys()).cloned().collect(),
            aliases: users.aliases.clone().into_iter().collect(),
            uids: uid_range(&login_defs),
            known: Mutex::default(),
            look_up: uid_of_name,
        }
    }

    /// The inboxes that a name stands for, each once; empty when there is no such name. Aliases do not nest: what an
    /// alias names are users.
    ///
    /// # Errors
    /// When the account database cannot say: a name is unknown only when it was asked for.
    pub(crate) fn resolve(&self, name: &UserName) -> Result<Vec<UserName>, Unanswered> {
        let named = match self.aliases.get(name) {
            Some(to) => to.as_slice(),
            None => std::slice::from_ref(name),
        };
        let mut found = BTreeSet::new();
        for user in named {
            if self.has(user)? {
                found.insert(user.clone());
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Whether [`Directory::resolve`] of this name would ask the system, and so may block.
    pub(crate) fn blocks(&self, name: &UserName) -> bool {
        let named = self
            .aliases
            .get(name)
            .map_or(std::slice::from_ref(name), Vec::as_slice);
        self.source == Source::System
            && named
                .iter()
                .any(|user| !self.list.contains(user) && self.recalled(user).is_none())
    }

    /// Whether a user (not an alias) has an inbox.
    fn has(&self, user: &UserName) -> Result<bool, Unanswered> {
        match self.source {
            _ if self.list.contains(user) => Ok(true),
            Source::List => Ok(false),
            Source::System => self.system_has(user),
        }
    }

    /// What the system said of a user less than a minute ago.
    fn recalled(&self, user: &UserName) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(user)
            .filter(|(_, when)| when.elapsed() < REMEMBERED)
            .map(|&(answer, _)| answer)
    }

    fn system_has(&self, user: &UserName) -> Result<bool, Unanswered> {
        if let Some(answer) = self.recalled(user) {
            return Ok(answer);
        }
        let uid =
            (self.look_up)(user.as_str()).inspect_err(|err| error!(%user, %err, "user not looked up"))?;
        let answer = uid.is_some_and(|uid| uid == 0 || self.uids.contains(&uid));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(user.clone(), (answer, Instant::now()));
        Ok(answer)
    }
}

/// The login name of a user id, if it is one that could have an inbox.
pub(crate) fn login_name(uid: u32) -> Option<UserName> {
    let account = User::from_uid(Uid::from_raw(uid))
        .inspect_err(|err| error!(uid, %err, "user not looked up"))
        .ok()
        .flatten()?;
    inbox_of(&account.name, uid, uid_of_name)
}

/// The inbox of a login name. Inboxes fold case, accounts do not: `Root` is not let in as `root`.
fn inbox_of(name: &str, uid: u32, look_up: LookUp) -> Option<UserName> {
    let user: UserName = name.parse().ok()?;
    let own = name == user.as_str()
        || matches!(look_up(user.as_str()), Ok(owner) if owner.is_none_or(|it| it == uid));
    own.then_some(user)
}

/// A name of a program that is also an account of this host. Whoever has the account would have the program's inbox.
/// An account database that does not answer names nobody.
pub(crate) fn taken_by_an_account(users: &config::Users) -> Option<&UserName> {
    let taken = |name: &&UserName| matches!(uid_of_name(name.as_str()), Ok(Some(_)));
    users.program.keys().find(taken)
}

/// The user id behind a name, if the system knows it.
pub(crate) fn uid_of(user: &UserName) -> Option<u32> {
    uid_of_name(user.as_str()).ok().flatten()
}

fn uid_of_name(name: &str) -> Result<Option<u32>, Unanswered> {
    match User::from_name(name) {
        Ok(account) => Ok(account.map(|account| account.uid.as_raw())),
        // What some databases say of a name that is not in them (getpwnam_r(3)).
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        Err(err) => Err(Unanswered(err)),
    }
}

/// `UID_MIN..=UID_MAX` of a login.defs text.
fn uid_range(login_defs: &str) -> RangeInclusive<u32> {
    let value = |key: &str| {
        login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key))
                .then(|| words.next()?.parse().ok())
                .flatten()
        })
    };
    value("UID_MIN").unwrap_or(*UIDS.start())..=value("UID_MAX").unwrap_or(*UIDS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn an_alias_is_its_users_and_an_unknown_name_nobody() {
        let users = config::Users {
            source: Source::List,
            list: vec![name("alice"), name("bob")],
            aliases: [(
                name("both"),
                vec![name("bob"), name("alice"), name("bob"), name("gone")],
            )]
            .into(),
            ..config::Users::default()
        };
        let directory = Directory::new(&users);
        assert_eq!(
            directory.resolve(&name("both")).unwrap(),
            [name("alice"), name("bob")]
        );
        assert_eq!(directory.resolve(&name("alice")).unwrap(), [name("alice")]);
        assert!(directory.resolve(&name("gone")).unwrap().is_empty());
        assert!(directory.resolve(&name("root")).unwrap().is_empty());
    }

    #[test]
    fn the_system_has_root_but_no_daemon_accounts() {
        let directory = Directory::new(&config::Users {
            source: Source::System,
            ..config::Users::default()
        });
        assert!(directory.has(&name("root")).unwrap());
        assert!(!directory.has(&name("daemon")).unwrap());
        assert!(!directory.has(&name("no-such-account")).unwrap());
    }

    #[test]
    fn nobody_is_unknown_because_the_account_database_is_away() {
        let mut directory = Directory::new(&config::Users {
            source: Source::System,
            ..config::Users::default()
        });
        directory.look_up = |_| Err(Unanswered(Errno::EIO));
        assert_eq!(directory.resolve(&name("alice")), Err(Unanswered(Errno::EIO)));
        directory.look_up = |_| Ok(Some(1000));
        assert_eq!(
            directory.resolve(&name("alice")),
            Ok(vec![name("alice")]),
            "not remembered"
        );
    }

    #[test]
    fn a_name_that_differs_in_case_does_not_open_somebody_elses_inbox() {
        let accounts: LookUp = |name| Ok((name == "root").then_some(0));
        assert_eq!(inbox_of("root", 0, accounts), Some(name("root")));
        assert_eq!(inbox_of("Root", 1000, accounts), None);
        assert_eq!(inbox_of("Bob", 1000, accounts), Some(name("bob")));
        assert_eq!(inbox_of("Bob", 1000, |_| Err(Unanswered(Errno::EIO))), None);
    }

    #[test]
    fn login_defs_set_the_range() {
        assert_eq!(
            uid_range("# UID_MIN 5\nUID_MIN\t 500\nUID_MAX 900 # x\n"),
            500..=900
        );
        assert_eq!(uid_range(""), UIDS);
    }
}
