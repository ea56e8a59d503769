//! Who is at the other end of a session: what is claimed, what is proven, and what follows from it.
//!
//! What it does not do: decide what a sender may have sent where (`recipient` and the routes do).

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{info, warn};
use uft_spool::{Attribute, Origin, Proof, Stranger};

use super::{Conn, Peer};
use crate::peers::ProvenPeer;
use crate::proto::{Answer, Auth, Draft, PeerClaim, Refusal};
use crate::route::Party;
use crate::server::callback;
use crate::server::notice;
use crate::server::onward::Speaker;
use crate::server::recipient::Sender;

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// A key in `FILE` is proof for that file when the gateway at the peer's address confirms it.
    pub(super) async fn call_back(&mut self, auth: &Auth) {
        let by_itself = |peer: &ProvenPeer| peer.proof != Proof::Agent;
        if self.proven.as_ref().is_some_and(by_itself) {
            return;
        }
        self.proven = match (auth, &self.peer) {
            (Auth::Agent(Some(key)), Peer::Remote(address)) => {
                callback::confirmed(&self.gateway, address.ip(), key).await
            }
            _ => None,
        };
    }

    pub(super) fn prove(&mut self, claim: &PeerClaim) -> Result<Answer, Refusal> {
        match self.gateway.live().peers.check(claim, &self.link) {
            Some((peer, _)) if self.proven.as_ref().is_some_and(|shown| shown.name != peer.name) => {
                warn!(name = ?claim.name, "refused: the certificate is that of another gateway");
                Err(Refusal::NotAPeer)
            }
            Some((peer, tag)) => {
                info!(gateway = peer.name, "has proven itself by the shared secret");
                self.proven = Some(peer);
                Ok(Answer::Proof(tag))
            }
            None => {
                warn!(name = ?claim.name, "refused: the proof is not that of a gateway of this name");
                Err(Refusal::NotAPeer)
            }
        }
    }

    /// On whose behalf recipients are looked for.
    pub(super) fn sender(&self) -> Sender {
        let owner = match &self.peer {
            Peer::Local(user) => Some(user.clone()),
            Peer::Remote(_) => None,
        };
        // A key that goes over the line in clear text is no reason to send files on for whoever heard it.
        let gateway = self
            .proven
            .as_ref()
            .filter(|gateway| gateway.proof != Proof::Agent);
        Sender {
            party: Party {
                local: owner.is_some(),
                link: gateway.map(|gateway| gateway.name.clone()),
            },
            owner,
        }
    }

    /// Who speaks, for what is not a file.
    pub(super) fn speaker(&self, from: Option<String>, said: &[Attribute]) -> Speaker {
        let origin = self.claimed(from.unwrap_or_default(), vouched(said));
        let budget = match (&self.peer, &self.proven) {
            (Peer::Local(user), _) => user.to_string(),
            // All the users behind it are not to share one allowance. With an AGENT key the sender gives itself a name.
            (Peer::Remote(_), Some(gateway)) if gateway.proof != Proof::Agent => {
                format!("{} {}", gateway.name, origin.sender())
            }
            (Peer::Remote(address), _) => notice::message_budget(address.ip()),
        };
        Speaker {
            party: self.sender().party,
            origin,
            budget,
        }
    }

    pub(super) fn origin(&self, draft: &Draft) -> Origin {
        self.claimed(draft.from.clone().unwrap_or_default(), vouched(&draft.attributes))
    }

    /// The sender, with what was proven; a local user's own name replaces whatever is claimed. `vouched` is what a gateway
    /// says of the sender; of anybody else it proves nothing.
    fn claimed(&self, user: String, vouched: Option<&str>) -> Origin {
        match (&self.peer, &self.proven) {
            (Peer::Remote(address), Some(gateway)) => {
                let host = address.ip().to_canonical().to_string();
                gateway.origin(user, vouched, host, &self.gateway.live().table)
            }
            (Peer::Remote(address), None) => Origin {
                user,
                node: None,
                host: address.ip().to_canonical().to_string(),
                proof: Proof::Address,
            },
            (Peer::Local(user), _) => {
                let live = self.gateway.live();
                Origin {
                    user: user.to_string(),
                    node: Some(live.config.node.clone()),
                    host: live.config.hostname.clone(),
                    proof: Proof::Local,
                }
            }
        }
    }

    /// Whose quota counts; nobody's for a local user or a gateway that has proven itself.
    pub(super) fn stranger(&self) -> Option<Stranger> {
        match (&self.peer, &self.proven) {
            (Peer::Remote(address), None) => Some(Stranger::of(address.ip())),
            (Peer::Remote(_), Some(_)) | (Peer::Local(_), _) => None,
        }
    }
}

/// What a gateway says of who sent something: the last `ORIGIN` counts.
fn vouched(said: &[Attribute]) -> Option<&str> {
    let origin = said.iter().rfind(|attribute| attribute.key == "ORIGIN")?;
    Some(&origin.value)
}
