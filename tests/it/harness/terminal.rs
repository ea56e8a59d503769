//! A pseudo terminal: a real one, as people log in on, whose screen the test can read.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::PATIENCE;

/// A terminal of the user who runs the test; messages are permitted on it.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Held so that the terminal stays.
    _slave: fs::File,
    pub(crate) path: PathBuf,
    screen: Receiver<Vec<u8>>,
}

impl Terminal {
    pub(crate) fn open() -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        let slave = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (bytes, screen) = channel();
        thread::spawn(move || {
            let mut master = fs::File::from(master);
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = master.read(&mut piece) {
                if bytes.send(piece[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let terminal = Terminal {
            _slave: slave,
            path,
            screen,
        };
        terminal.permit(true);
        terminal
    }

    /// `mesg y` or `mesg n`.
    pub(crate) fn permit(&self, yes: bool) {
        fs::set_permissions(
            &self.path,
            fs::Permissions::from_mode(if yes { 0o620 } else { 0o600 }),
        )
        .unwrap();
    }

    /// What is shown, up to and with the line that holds `text`.
    pub(crate) fn shows(&self, text: &str) -> String {
        let mut shown = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&shown).into_owned();
            if let Some((_, after)) = so_far.split_once(text)
                && after.contains('\n')
            {
                return so_far;
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(piece) => shown.extend(piece),
                Err(err) => panic!("{text:?} was not shown ({err}); the screen has {so_far:?}"),
            }
        }
    }

    /// What is shown at this moment.
    pub(crate) fn now(&self) -> String {
        let shown: Vec<u8> = self.screen.try_iter().flatten().collect();
        String::from_utf8_lossy(&shown).into_owned()
    }
}
