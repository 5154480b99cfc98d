//! What the front and the warden tell each other, one message at a time.

use std::{
    fmt, io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tenure_core::Moment;

/// Longest message.
const LONGEST: usize = 4096;

/// Something one of them says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Front to warden, first of all, with standard input: `terminal` when the command is to
    /// have it, `ignored` signals that this process was started not to hear.
    Hello { terminal: bool },
    /// Front to warden: a signal came; `terminal` when a key press caused it.
    Signal { number: i32, terminal: bool },
    /// Front to warden: say that you live.
    Ask,
    /// Warden to front: it lives.
    Alive,
    /// Warden to front: unless told otherwise, everything must be dead by then. The first one
    /// comes with the lock that must not be free before that, where there is one.
    Armed { until: Moment, cgroup: Option<PathBuf> },
    /// Warden to front: nothing runs.
    Disarmed,
    /// Warden to front: the command was stopped from the terminal, so should the front be.
    Stopped,
    /// Warden to front, for the service manager.
    Notify(String),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { terminal } => write!(f, "hello {terminal}"),
            Self::Signal { number, terminal } => write!(f, "signal {number} {terminal}"),
            Self::Armed { until, cgroup: None } => write!(f, "armed {}", until.as_nanos()),
            Self::Armed { until, cgroup: Some(group) } => {
                write!(f, "armed {} {}", until.as_nanos(), group.display())
            }
            Self::Ask => write!(f, "ask"),
            Self::Alive => write!(f, "alive"),
            Self::Disarmed => write!(f, "disarmed"),
            Self::Stopped => write!(f, "stopped"),
            Self::Notify(text) => write!(f, "notify {text}"),
        }
    }
}

impl Message {
    fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(match word {
            "hello" => Self::Hello { terminal: first.parse().ok()? },
            "signal" => Self::Signal { number: first.parse().ok()?, terminal: more.parse().ok()? },
            "armed" => {
                let cgroup = Some(more).filter(|path| !path.is_empty()).map(PathBuf::from);
                Self::Armed { until: Moment::from_nanos(first.parse().ok()?), cgroup }
            }
            "ask" => Self::Ask,
            "alive" => Self::Alive,
            "disarmed" => Self::Disarmed,
            "stopped" => Self::Stopped,
            "notify" => Self::Notify(rest.to_owned()),
            _ => return None,
        })
    }
}

/// One end.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message, Option<OwnedFd>),
    /// Nothing for now.
    Nothing,
    /// The other process has closed its end, or ended.
    Closed,
}

impl Link {
    /// Two ends. Both are closed when another program begins.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was started with as its standard input.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?))
    }

    /// Says something, and passes a file on.
    ///
    /// A reader that is stopped lets the queue fill up; what does not fit is lost. Each message
    /// is repeated with the next renewal, so nothing depends on a single one.
    pub(crate) fn say(&self, message: &Message, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = message.to_string();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = file.map(|file| [file]);
        if let Some(files) = &files {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        let bytes = [io::IoSlice::new(text.as_bytes())];
        sendmsg(&self.0, &bytes, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// The next message; does not wait.
    pub(crate) fn hear(&self) -> Heard {
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(&self.0, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, flags);
        let length = match got {
            Ok(got) => got.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Heard::Nothing,
            Err(_) => 0,
        };
        if length == 0 {
            return Heard::Closed;
        }
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        Message::parse(&text).map_or(Heard::Nothing, |message| Heard::Message(message, file))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let (front, warden) = Link::pair().unwrap();
        let warden = Link(warden);
        let until = Moment::from_nanos(7);
        for message in [
            Message::Hello { terminal: true },
            Message::Signal { number: 15, terminal: false },
            Message::Armed { until, cgroup: None },
            Message::Armed { until, cgroup: Some("/a b/c".into()) },
            Message::Disarmed,
            Message::Ask,
            Message::Alive,
            Message::Stopped,
            Message::Notify("READY=1\nSTATUS=a b".into()),
        ] {
            front.say(&message, Some(front.as_fd())).unwrap();
            let Heard::Message(heard, Some(_)) = warden.hear() else { panic!("{message}") };
            assert_eq!(heard, message);
        }
        assert!(matches!(warden.hear(), Heard::Nothing));
        drop(front);
        assert!(matches!(warden.hear(), Heard::Closed));
        assert_eq!(Message::parse("sing 1"), None);
    }
}
