//! Where a job goes, by the configuration of this moment: which hops, or what else becomes of it.
//!
//! What it does *not* do: anything with the job.

use std::collections::HashMap;
use std::sync::Arc;

use uft_spool::{Job, JobSummary, UserName};

use super::Settings;
use super::schedule::{HopKey, Schedule};
use crate::client::{Endpoint, Options, Security, TlsMode};
use crate::deliver::uft::Hop;
use crate::route::{Address, Party, Place, Route, Table};

/// The hop of jobs whose recipient is here: no peer is called that.
pub(super) const HOME: &str = "local";

/// Where a job goes, or what becomes of it instead.
pub(super) enum Way {
    /// Over the first of these that can be reached.
    Hops(Vec<HopKey>),
    /// Nowhere, until somebody releases it; why.
    Hold(&'static str),
    /// Nowhere; why.
    Never(String),
    /// Nowhere until the configuration changes; why.
    Later(String),
}

/// What the table says of a job; `None` when its destination makes no sense.
fn decide(table: &Table, job: &Job) -> Option<Route> {
    let address = Address {
        user: job.to.clone(),
        place: Some(job.place.parse::<Place>().ok()?),
    };
    let party = Party {
        local: job.owner.is_some() || job.notice,
        link: job.link.clone(),
    };
    Some(table.decide(&address, &party))
}

/// The user of this host to whom a job goes now.
pub(super) fn user_here(table: &Table, job: &Job) -> Option<UserName> {
    match decide(table, job)? {
        Route::Inbox(user) => user.parse().ok(),
        _ => None,
    }
}

/// Whether a hop is a host that is no peer: those have a colon in their names, and peers have none.
pub(super) fn is_direct(hop: &str) -> bool {
    hop.contains(':')
}

/// The hops that jobs go over, made when the first job needs one.
pub(super) struct Ways {
    settings: Arc<Settings>,
    hops: HashMap<HopKey, Hop>,
}

impl Ways {
    /// By this configuration.
    pub(super) fn new(settings: Arc<Settings>) -> Ways {
        Ways {
            settings,
            hops: HashMap::new(),
        }
    }

    /// A hop that was named before.
    pub(super) fn hop(&self, key: &HopKey) -> Option<&Hop> {
        self.hops.get(key)
    }

    /// Where a job goes now.
    pub(super) fn of(&mut self, summary: &JobSummary, schedule: &mut Schedule) -> Way {
        let Some(route) = decide(&self.settings.table, &summary.job) else {
            return Way::Hold("its destination makes no sense");
        };
        match route {
            Route::Inbox(user) => match user.parse::<UserName>() {
                Ok(_) => Way::Hops(vec![HopKey::from(HOME)]),
                Err(_) => Way::Never(format!("{user} is no user name")),
            },
            Route::Peers(names) => {
                let hops = names.iter().filter_map(|name| self.peer(name, schedule));
                Way::Hops(hops.collect())
            }
            Route::Direct { host, port } => Way::Hops(vec![self.direct(host, port)]),
            Route::Mail => Way::Hold("files cannot be sent as mail yet"),
            Route::Hold => Way::Hold("the route to its destination is held"),
            Route::Refuse(why) if why.is_temporary() => Way::Later(why.to_string()),
            Route::Refuse(why) => Way::Never(why.to_string()),
        }
    }

    fn peer(&mut self, name: &str, schedule: &mut Schedule) -> Option<HopKey> {
        let key = HopKey::from(name);
        if !self.hops.contains_key(&key) {
            let peer = self.settings.peers.iter().find(|peer| peer.name == name)?;
            let (endpoint, options) =
                self.settings
                    .gateways
                    .dial(peer, self.settings.queue.timeout.0, self.settings.own.clone());
            let hop = Hop {
                endpoint,
                options,
                is: vec![peer.name.to_ascii_uppercase()],
            };
            schedule.set_parallel(&key, peer.max_parallel);
            self.hops.insert(key.clone(), hop);
        }
        Some(key)
    }

    fn direct(&mut self, host: String, port: Option<u16>) -> HopKey {
        let place = Place::Host {
            name: host.clone(),
            port,
        };
        let endpoint = Endpoint::Tcp { host, port };
        // A host of the same name is not taken for a peer, nor the other way round.
        let key = match port {
            Some(_) => HopKey::from(endpoint.to_string()),
            None => HopKey::from(format!("{endpoint}:uft")),
        };
        self.hops.entry(key.clone()).or_insert_with(|| Hop {
            endpoint,
            options: Options {
                security: Security {
                    mode: TlsMode::Prefer,
                    // A host that nobody knows is no less known for its own signature.
                    first_use: true,
                    ..Security::default()
                },
                ..Options::new(self.settings.queue.timeout.0)
            },
            is: vec![place.to_string()],
        });
        key
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uft_spool::{Job, Progress, SpoolId, State};

    use super::*;
    use crate::config::Config;
    use crate::peers::Peers;
    use crate::route::{Plan, Rule, Table};

    fn settings() -> Settings {
        let text = "[[peer]]\nname = \"mainframe\"\nuft = \"192.0.2.1:609\"\n";
        let config = Config::parse(text, "alpha.example").unwrap();
        let table = Table::new(Plan {
            node: "ALPHA".into(),
            peers: vec!["mainframe".into()],
            rules: vec![Rule {
                to: "MAIN".into(),
                via: vec!["mainframe".into()],
            }],
            max_hops: 16,
            ..Plan::default()
        });
        Settings {
            node: "ALPHA".into(),
            hostname: "alpha.example".into(),
            table: Arc::new(table),
            gateways: Arc::new(Peers::new(&config)),
            peers: config.peers,
            own: None,
            queue: config.queue,
        }
    }

    #[test]
    fn a_host_that_is_called_as_a_peer_is_another_hop() {
        let mut schedule = Schedule::new(vec![Duration::from_secs(1)], 1, 0);
        let mut ways = Ways::new(Arc::new(settings()));
        let mut hop = |place: &str| {
            let summary = JobSummary {
                id: SpoolId::new(1).unwrap(),
                state: State::Ready,
                job: Job {
                    to: "bob".into(),
                    place: place.into(),
                    owner: Some("alice".parse().unwrap()),
                    ..Job::default()
                },
                size: 0,
                from: String::new(),
                name: None,
                progress: Progress::default(),
            };
            match ways.of(&summary, &mut schedule) {
                Way::Hops(hops) => ways.hop(&hops[0]).unwrap().endpoint.to_string(),
                _ => panic!("{place} has no hops"),
            }
        };
        assert_eq!(hop("mainframe"), "mainframe");
        assert_eq!(hop("MAIN"), "192.0.2.1:609");
        assert_eq!(hop("mainframe"), "mainframe");
        assert_eq!(hop("other.example:609"), "other.example:609");
        assert!(ways.hops.keys().filter(|key| is_direct(key)).count() == 2);
    }
}
