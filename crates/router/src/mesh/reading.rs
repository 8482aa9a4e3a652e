//! Reads what comes from a bus as a member does: all that the fuzzer and the property tests see of the
//! mesh.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use p2p_shared::timing;

use crate::mesh::id::Epoch;
use crate::mesh::message::{Message, Topic};
use crate::mesh::seal::Sealer;
use crate::mesh::secret::MeshSecret;
use crate::mesh::state::{Now, State};

/// A member that knows one other.
pub struct ReadingMember {
    state: State,
    other: Sealer,
    now: Now,
}

impl ReadingMember {
    /// # Errors
    /// If there is no random number, or the two don't find each other.
    pub fn new() -> anyhow::Result<Self> {
        let secret = MeshSecret::new([7; 32]);
        let mut now = Now {
            instant: timing::now(),
            clock: Epoch::at(SystemTime::now()).number(),
        };
        let member = |address: &str| -> anyhow::Result<(State, Sealer)> {
            let address = address.parse().map_err(anyhow::Error::msg)?;
            let state = State::new(secret.clone(), address, now)?;
            let sealer = Sealer::new(&secret, state.start);
            Ok((state, sealer.map_err(|_| anyhow::anyhow!("no key"))?))
        };
        let [mut one, mut two] = [member("a:1")?, member("b:2")?];
        for _ in 0..4 {
            now.instant += Duration::from_secs(1);
            speak(&mut one, &mut two.0, now);
            speak(&mut two, &mut one.0, now);
        }
        anyhow::ensure!(one.0.members.present().count() == 1, "nobody was met");
        Ok(Self {
            state: one.0,
            other: two.1,
            now,
        })
    }

    /// Takes bytes from the bus. Returns false if they are of nobody who knows the secret.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        let before = self.state.refused_messages;
        self.state.receive(&Bytes::copy_from_slice(bytes), self.now);
        self.state.refused_messages == before
    }

    /// Hears something from the other member. Returns false if that is no message.
    pub fn hear(&mut self, message: &[u8]) -> bool {
        let sealed = self.other.seal(Topic::All, message).unwrap_or_default();
        self.receive(&sealed)
    }

    /// Returns true if this is no message, or one that is written and read back the same.
    pub fn is_read_back(message: &[u8]) -> bool {
        let Some(read) = Message::decode(message) else {
            return true;
        };
        let written = read.encode();
        written.and_then(|bytes| Message::decode(&bytes)) == Some(read)
    }

    /// Number of records that this member has of others, and of messages that it has for them.
    pub fn sizes(&mut self) -> (usize, usize) {
        self.state.poll(true, self.now);
        let out = self.state.take_out().len();
        (self.state.directory.len(), out)
    }
}

/// Brings one member what the other has to say.
fn speak((from, sealer): &mut (State, Sealer), to: &mut State, now: Now) {
    from.poll(true, now);
    for (to_whom, message) in from.take_out() {
        let sealed = message
            .encode()
            .and_then(|bytes| sealer.seal(to_whom, &bytes));
        to.receive(&sealed.unwrap_or_default(), now);
    }
}
