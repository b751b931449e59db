//! One end of a session: numbers, proofs and credit.

use super::frame::{Frame, Unreadable};
use crate::wire::{SessionId, SessionKey};

/// Pieces that may be on their way in one direction.
pub const WINDOW: u64 = 16;

const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// The session that a message belongs to, and the rest of the message. It is proven by [`Endpoint::open`] alone.
#[must_use]
pub fn named(message: &[u8]) -> Option<(SessionId, &[u8])> {
    let (id, rest) = message.split_first_chunk::<ID_BYTES>()?;
    Some((SessionId(*id), rest))
}

/// The nonce in a worker's first message. It is proven once an [`Endpoint`] with the keys that it makes opens the message.
#[must_use]
pub fn nonce(message: &[u8]) -> Option<[u8; 16]> {
    let (_, rest) = named(message)?;
    match Frame::read(rest.get(MAC_BYTES + NUMBER_BYTES..)?) {
        Ok(Frame::Challenge(nonce)) => Some(nonce),
        Ok(_) | Err(_) => None,
    }
}

/// One end of a session.
#[derive(Debug)]
pub struct Endpoint {
    id: SessionId,
    own: SessionKey,
    theirs: SessionKey,
    /// The number of the next message in each direction.
    next_out: u64,
    next_in: u64,
    /// Pieces that were sent, and that may be.
    sent: u64,
    allowed: u64,
    /// Pieces that arrived, were taken by whom they are for, and may arrive.
    arrived: u64,
    taken: u64,
    granted: u64,
}

/// Why a session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Messages are missing.
    #[error("messages were lost between master and worker: number {expected} is missing")]
    Lost {
        /// The first that is missing.
        expected: u64,
    },
    /// The other end sends more than it may.
    #[error("the other end sends more than it may")]
    Overrun,
    /// The other end is of another version.
    #[error("the other end says what this version does not understand")]
    Unreadable(#[from] Unreadable),
}

impl Endpoint {
    /// The end that proves what it says with `own` and believes what `theirs` proves.
    #[must_use]
    pub const fn new(id: SessionId, own: SessionKey, theirs: SessionKey) -> Self {
        Self {
            id,
            own,
            theirs,
            next_out: 0,
            next_in: 0,
            sent: 0,
            allowed: 0,
            arrived: 0,
            taken: 0,
            granted: 0,
        }
    }

    /// Whether a piece may be sent.
    #[must_use]
    pub const fn may_send(&self) -> bool {
        self.sent < self.allowed
    }

    /// Numbers and proves a frame. Each message is to be sent once, in this order. `None` if it needs credit and there
    /// is none.
    #[must_use]
    pub fn seal(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        if frame.costs() {
            if !self.may_send() {
                return None;
            }
            self.sent += 1;
        }
        let body = frame.write();
        let number = self.next_out;
        self.next_out += 1;
        let mac = self.own.mac(number, &body);
        Some([&self.id.0[..], &mac, &number.to_le_bytes(), &body].concat())
    }

    /// Reads what the other end said. `None` if it is not the other end's, or has come before.
    ///
    /// # Errors
    /// [`Broken`]: the session is over.
    pub fn open(&mut self, message: &[u8]) -> Result<Option<Frame>, Broken> {
        let Some((number, body)) = self.proven(message) else {
            return Ok(None);
        };
        let expected = self.next_in;
        if number < expected {
            return Ok(None);
        }
        if number > expected {
            return Err(Broken::Lost { expected });
        }
        self.next_in += 1;
        let frame = Frame::read(body)?;
        match frame {
            Frame::Begin(credit) | Frame::Credit(credit) => {
                self.allowed = self.allowed.max(credit);
            }
            Frame::Data(..) | Frame::Close | Frame::Resize(..) => {
                if self.arrived >= self.granted {
                    return Err(Broken::Overrun);
                }
                self.arrived += 1;
            }
            Frame::Challenge(_) | Frame::Started | Frame::End(_) => {}
        }
        Ok(Some(frame))
    }

    /// The number and the frame of a message that the other end said in this session.
    fn proven<'m>(&self, message: &'m [u8]) -> Option<(u64, &'m [u8])> {
        let (id, rest) = named(message)?;
        let (mac, rest) = rest.split_first_chunk::<MAC_BYTES>()?;
        let (number, body) = rest.split_first_chunk::<NUMBER_BYTES>()?;
        let number = u64::from_le_bytes(*number);
        (id == self.id && self.theirs.proves(number, body, mac)).then_some((number, body))
    }

    /// The credit that the other end has from now on.
    pub fn grant(&mut self) -> u64 {
        self.granted = self.taken + WINDOW;
        self.granted
    }

    /// Notes that a piece was taken. Tells the new credit when it is worth a message.
    pub fn taken(&mut self) -> Option<u64> {
        self.taken += 1;
        (self.taken + WINDOW - self.granted >= WINDOW / 2).then(|| self.grant())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Channel;
    use super::*;
    use crate::wire::{ClusterKey, SessionKeys};

    fn keys(nonce: u8) -> SessionKeys {
        let worker = "w".parse().expect("a name");
        let key = ClusterKey::from_secret("s").worker(&worker);
        key.session(SessionId([1; 16]), [nonce; 16])
    }

    /// A master's end and a worker's, each with credit.
    fn ends(nonce: u8) -> (Endpoint, Endpoint) {
        let SessionKeys {
            to_worker,
            to_master,
        } = keys(nonce);
        let id = SessionId([1; 16]);
        let mut master = Endpoint::new(id, to_worker.clone(), to_master.clone());
        let mut worker = Endpoint::new(id, to_master, to_worker);
        let begin = Frame::Begin(master.grant());
        pass(&mut master, &mut worker, &begin);
        let credit = Frame::Credit(worker.grant());
        pass(&mut worker, &mut master, &credit);
        (master, worker)
    }

    fn pass(from: &mut Endpoint, to: &mut Endpoint, frame: &Frame) -> Option<Frame> {
        let message = from.seal(frame).expect("there is credit");
        to.open(&message).expect("sound")
    }

    fn piece(number: u8) -> Frame {
        Frame::Data(Channel::Input, vec![number])
    }

    #[test]
    fn no_end_sends_more_than_the_other_takes() {
        let (mut master, mut worker) = ends(1);
        let mut sent = 0;
        for round in 0..10_u8 {
            while let Some(message) = master.seal(&piece(round)) {
                sent += 1;
                assert_eq!(worker.open(&message), Ok(Some(piece(round))));
            }
            assert!(!master.may_send());
            // What does not cost goes all the same.
            assert!(
                master
                    .seal(&Frame::Started)
                    .is_some_and(|message| { worker.open(&message) == Ok(Some(Frame::Started)) })
            );
            let mut credit = None;
            for _ in 0..WINDOW / 2 {
                assert_eq!(
                    credit, None,
                    "credit for every piece is a message for every piece"
                );
                credit = worker.taken();
            }
            let credit = Frame::Credit(credit.expect("half a window was taken"));
            pass(&mut worker, &mut master, &credit);
        }
        assert_eq!(sent, WINDOW + 9 * WINDOW / 2);
    }

    #[test]
    fn who_ignores_credit_is_noticed() {
        let (mut master, mut worker) = ends(1);
        master.allowed = u64::MAX;
        for number in 0..16 {
            assert!(pass(&mut master, &mut worker, &piece(number)).is_some());
        }
        let message = master.seal(&piece(0)).expect("it believes that it may");
        assert_eq!(worker.open(&message), Err(Broken::Overrun));
    }

    #[test]
    fn a_lost_message_ends_the_session_and_a_repeated_one_does_nothing() {
        let (mut master, mut worker) = ends(1);
        let first = master.seal(&piece(1)).expect("credit");
        let second = master.seal(&piece(2)).expect("credit");
        let third = master.seal(&piece(3)).expect("credit");
        assert_eq!(worker.open(&first), Ok(Some(piece(1))));
        assert_eq!(worker.open(&first), Ok(None));
        assert_eq!(worker.open(&third), Err(Broken::Lost { expected: 2 }));
        let (mut master, mut worker) = ends(1);
        for number in 1..4 {
            assert!(pass(&mut master, &mut worker, &piece(number)).is_some());
        }
        assert_eq!(worker.open(&second), Ok(None));
    }

    #[test]
    fn nothing_is_believed_that_was_not_said_in_this_session_and_direction() {
        let (mut master, mut worker) = ends(1);
        let (mut other, _) = ends(2);
        let foreign = other.seal(&piece(1)).expect("credit");
        assert_eq!(worker.open(&foreign), Ok(None), "another nonce");
        let own = worker.seal(&Frame::Started).expect("free");
        assert_eq!(worker.open(&own), Ok(None), "its own words");
        let sound = master.seal(&piece(1)).expect("credit");
        for place in 0..sound.len() {
            let mut bent = sound.clone();
            bent[place] ^= 1;
            assert_eq!(worker.open(&bent), Ok(None), "changed at byte {place}");
        }
        for length in 0..sound.len() {
            assert_eq!(worker.open(&sound[..length]), Ok(None), "cut to {length}");
        }
        assert_eq!(worker.open(&sound), Ok(Some(piece(1))));
    }
}
