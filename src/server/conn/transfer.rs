//! A transfer that began before: what is kept of it, and where its bytes go on.
//!
//! What it does not do: keep bytes or read them again (`intake` and the spool do), or say where the client may go on (the
//! session does).

use tokio::io::{AsyncRead, AsyncWrite};
use uft_spool::{Stranger, Transfer};

use super::{Conn, Ended, File, IntakeError, Peer, recipient, verdict};
use crate::proto::{Answer, Draft, Fork, Held, Refusal};

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// What is there already of the transfer that the draft names. Reading a large one again takes its time, of which
    /// the peer hears.
    pub(super) async fn held(&mut self, draft: Draft) -> Result<Held, Ended> {
        if self.settle().await.is_err() {
            return Ok(Held::Nothing);
        }
        let (Some(transfer), File::Ready(intake)) = (self.transfer(&draft), &mut self.file) else {
            return Ok(Held::Nothing);
        };
        if !intake.may_have(&transfer, &draft) {
            return Ok(Held::Nothing);
        }
        let origin = self.origin(&draft);
        let File::Ready(mut intake) = std::mem::replace(&mut self.file, File::Broken) else {
            return Ok(Held::Nothing);
        };
        let looking = tokio::task::spawn_blocking(move || {
            // What cannot be gone on with is sent again, and refused then if it must be.
            let held = intake.have(&transfer, &origin, &draft).unwrap_or_else(|err| {
                verdict::refusal(&err);
                Held::Nothing
            });
            (intake, held)
        });
        let (intake, held) = self.wait_for(looking).await?;
        self.file = File::Ready(intake);
        Ok(held)
    }

    /// Makes ready for the bytes of a fork; of a transfer that goes on, the conversion is made again so far.
    pub(super) async fn begin(&mut self, fork: Fork, draft: Draft) -> Result<Result<Answer, Refusal>, Ended> {
        if let Err(refusal) = self.settle().await {
            return Ok(Err(refusal));
        }
        if let Err(refusal) = recipient::passes(&self.gateway.live().table, &draft.attributes) {
            return Ok(Err(refusal));
        }
        let transfer = self.transfer(&draft);
        let File::Ready(mut intake) = std::mem::replace(&mut self.file, File::Broken) else {
            return Ok(Err(Refusal::DataError));
        };
        intake.named(transfer);
        let slow = fork == Fork::Data && intake.takes_up();
        let begin = move || {
            if fork == Fork::Data {
                intake.go_on(&draft)?;
            }
            intake.begin(fork, &draft);
            Ok::<_, IntakeError>(intake)
        };
        let begun = match slow {
            true => self.wait_for(tokio::task::spawn_blocking(begin)).await?,
            false => begin(),
        };
        match begun {
            Ok(intake) => {
                self.file = File::Ready(intake);
                Ok(Ok(Answer::Done))
            }
            Err(err) => Ok(Err(verdict::refusal(&err))),
        }
    }

    /// Whose transfer it is, by what is proven: nobody is offered what another has sent.
    fn transfer(&self, draft: &Draft) -> Option<Transfer> {
        let gateway = self.sender().party.link;
        let sender = match (&self.peer, gateway) {
            (_, Some(gateway)) => format!("gateway {gateway}"),
            (Peer::Remote(address), None) => format!("address {}", Stranger::of(address.ip()).as_str()),
            (Peer::Local(user), None) => format!("local {user}"),
        };
        let xid = draft.xid.as_deref()?;
        let user = self.origin(draft).user;
        Some(Transfer::of(&sender, &user, &draft.recipient, xid))
    }
}
