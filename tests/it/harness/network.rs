//! Several gateways on this host that know one another: each a process of its own, with its own spool and node name.
//!
//! They are started on port 0 first, then told of each other by a reload; from then on each keeps its port, so that one
//! that is killed comes back where the others look for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Daemon, Setup};

/// Short pauses, so that a test waits for little; and no second look at the directories, so that every event counts.
const QUICK: &str = "[queue]\nretry = [\"50ms\", \"100ms\", \"200ms\"]\nrescan = \"1h\"\n\
                     [uft]\nmax_sessions_per_address = 1000\n";

/// Gateways, in the order of their names.
#[derive(Debug)]
pub(crate) struct Network {
    names: Vec<String>,
    /// The `[[peer]]` sections of each.
    peers: Vec<String>,
    daemons: Vec<Daemon>,
}

/// A peer as one gateway knows another.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Lines of the `[[peer]]` section besides name, address and secret.
    pub(crate) more: String,
    /// Whether the two share a secret.
    pub(crate) secret: bool,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            more: String::new(),
            secret: true,
        }
    }
}

impl Network {
    /// Gateways that do not know each other yet; `settings` are laid over everybody's.
    pub(crate) fn of(names: &[&str], settings: &str) -> Network {
        let places: Vec<_> = names.iter().map(|&name| (name, None)).collect();
        Network::of_spools(&places, settings)
    }

    /// The same, some with their spool in a place of its own.
    pub(crate) fn of_spools(places: &[(&str, Option<&Path>)], settings: &str) -> Network {
        let daemons = places.iter().map(|(name, spool)| {
            let mut setup = Setup::new(QUICK)
                .over(&format!(
                    "node = \"{name}\"\nhostname = \"{}.example\"",
                    name.to_lowercase()
                ))
                .over(settings);
            if let Some(spool) = spool {
                setup = setup.spool(&spool.join("spool"));
            }
            let mut daemon = setup.start();
            let address = daemon.address();
            daemon.configure(&format!("[uft]\nlisten = [\"{address}\"]"));
            daemon
        });
        let daemons: Vec<Daemon> = daemons.collect();
        Network {
            names: places.iter().map(|(name, _)| (*name).to_owned()).collect(),
            peers: vec![String::new(); daemons.len()],
            daemons,
        }
    }

    /// Gateways in a row: each knows its neighbours, and sends what is for the others in their direction.
    pub(crate) fn row(names: &[&str], settings: &str) -> Network {
        let mut network = Network::of(names, settings);
        network.make_row();
        network
    }

    /// Lays the routes of a row.
    pub(crate) fn make_row(&mut self) {
        let names = self.names.clone();
        for here in 0..names.len() {
            let mut routes = Vec::new();
            for there in (0..names.len()).filter(|&there| there != here) {
                let next = if there > here { here + 1 } else { here - 1 };
                routes.push((names[there].clone(), names[next].to_lowercase()));
            }
            let neighbours: Vec<usize> = (0..names.len()).filter(|&n| n.abs_diff(here) == 1).collect();
            self.introduce(here, &neighbours, &Link::default());
            self.route(here, &routes);
        }
        self.reload();
    }

    /// One more peer of a gateway, that is none of these.
    pub(crate) fn add(&mut self, here: usize, peer: &str) {
        self.peers[here] += peer;
        self.daemons[here].configure(&self.peers[here]);
    }

    /// Tells a gateway of others; takes effect with the next reload.
    pub(crate) fn introduce(&mut self, here: usize, others: &[usize], link: &Link) {
        let mut text = String::new();
        for &other in others {
            let (name, address) = (self.names[other].to_lowercase(), self.daemons[other].address());
            text += &format!("[[peer]]\nname = {name:?}\nuft = \"{address}\"\n{}\n", link.more);
            if link.secret {
                let mut pair = [self.names[here].as_str(), &self.names[other]];
                pair.sort_unstable();
                let secret = format!("the secret of {} and {}\n", pair[0], pair[1]);
                let path = self.daemons[here].place.path(&format!("{name}.secret"));
                fs::write(&path, secret).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                text += &format!("secret_file = {:?}\n", path.to_str().unwrap());
            }
        }
        self.add(here, &text);
    }

    /// The routes of a gateway: to, via.
    pub(crate) fn route(&mut self, here: usize, routes: &[(String, String)]) {
        let sections = routes
            .iter()
            .map(|(to, via)| format!("[[route]]\nto = {to:?}\nvia = {via:?}\n"));
        let text: String = sections.collect();
        self.daemons[here].configure(&text);
    }

    /// Everybody reads its configuration.
    pub(crate) fn reload(&self) {
        self.daemons.iter().for_each(Daemon::reload);
    }

    pub(crate) fn at(&self, n: usize) -> &Daemon {
        &self.daemons[n]
    }

    pub(crate) fn at_mut(&mut self, n: usize) -> &mut Daemon {
        &mut self.daemons[n]
    }
}
