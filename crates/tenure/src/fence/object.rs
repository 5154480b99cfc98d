//! Objects in a store that can write on a condition: S3 and what speaks like it, Google's and
//! Azure's.
//!
//! Such a store runs no code of ours, but it compares: `If-Match` writes only over the version
//! that was read, `If-None-Match: *` only where nothing is. So the token is kept *in* the
//! object, as its first line, and each write is conditional on the version in which that line
//! was found. A leader that was paused between reading and writing finds another version, reads
//! again, finds a newer token, and is refused.
//!
//! In the content, not in the metadata: the ETag of S3 is a digest of the content alone, so two
//! versions that differ in their metadata only would look the same. Behind the token stands a
//! name of the write, made anew for each: by it a write whose answer was lost is found again, and
//! no two versions are ever the same.
//!
//! One object is guarded by its own line only. Guard *one* object that names all others (a
//! manifest), put those under names of their own (`data/TOKEN/...`), and call
//! [`ObjectGate::claim`] as soon as you are elected: from then on nothing of a former leader
//! comes into view.

use core::future::Future;

use super::Fenced;
use crate::Token;

const HEADING: &str = "tenure-fence 1 ";
/// How often a write is tried again because somebody else was faster.
const ATTEMPTS: usize = 32;

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What the store calls this version: its ETag, or its generation. Never looked into.
    pub version: String,
    /// All of it.
    pub body: Vec<u8>,
}

/// On what a write depends. The store must decide this and write in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is there: `If-None-Match: *`, or generation 0.
    Absent,
    /// Exactly this version is there: `If-Match: VERSION`.
    Version(String),
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was done.
    Done,
    /// The condition does not hold (412), or another write was under way (409).
    Conflict,
}

/// A store of objects, as thin as a client of it can be.
pub trait ObjectStore {
    /// What can go wrong with it.
    type Error;

    /// Reads an object: none when there is none.
    ///
    /// What was read must be at least as new as every write that has ended before.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<Object>, Self::Error>> + Send;

    /// Writes an object if the condition holds.
    ///
    /// # Errors
    /// When it is not known whether it was written, or was certainly not.
    fn write(
        &self,
        key: &str,
        body: Vec<u8>,
        condition: Condition,
    ) -> impl Future<Output = Result<Written, Self::Error>> + Send;
}

/// A write was not done, or is not known to have been.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten<E> {
    /// A newer token was presented: somebody else leads.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The store failed. Whether the object was written is not known: try again, to write the
    /// same twice does no harm.
    #[error("whether {key} was written is not known: {error}")]
    Store {
        /// Which object.
        key: String,
        /// What the store said.
        error: E,
    },
    /// The object is there and was not written through this guard.
    #[error("{0} has no token in its first line, so it is not overwritten; move it away first")]
    Foreign(String),
    /// The system gives no random numbers, so this write could not be told from others.
    #[error("nothing was written: the system gives no random numbers: {0}")]
    Unnamed(String),
    /// Others of this leader write to the same object all the time.
    #[error("{0} was written by others again and again; nothing was written")]
    Contended(String),
}

/// What is to be done about an object, given how it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this, on that condition, and read again if there is a conflict.
    Write(Vec<u8>, Condition),
    /// It is there already, under this very token.
    Done,
    /// Somebody else leads.
    Fenced(Fenced),
    /// It was not written through this guard.
    Foreign,
}

/// What is in the bytes of a guarded object: `tenure-fence 1 TOKEN WRITE`, a line end, the
/// content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Under which token it was written.
    pub token: Token,
    /// Which write it was: letters and digits that no other write has.
    pub write: &'a str,
    /// What was written.
    pub content: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let heading = format!("{HEADING}{} {}\n", self.token, self.write);
        [heading.as_bytes(), self.content].concat()
    }

    /// Reads them; none for an object that was not written through a guard.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let text = core::str::from_utf8(&body[..end]).ok()?.strip_prefix(HEADING)?;
        let (token, write) = text.split_once(' ')?;
        let digits = token.bytes().all(|byte| byte.is_ascii_digit()) && !token.starts_with('0');
        let name = !write.is_empty() && write.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let token = token.parse().ok().filter(|_| digits && name)?;
        Some(Self { token: Token::new(token), write, content: &body[end + 1..] })
    }
}

/// Decides, without I/O, what a leader does to an object that it has read. `write` is the name
/// of this write, the same for all its attempts; `edit` is given the present content, empty when
/// there is none.
pub fn decide(
    present: Option<&Object>,
    token: Token,
    write: &str,
    edit: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Step {
    let sealed = |content: &[u8]| Sealed { token, write, content }.to_bytes();
    let Some(object) = present else {
        return Step::Write(sealed(&edit(&[])), Condition::Absent);
    };
    let Some(found) = Sealed::parse(&object.body) else { return Step::Foreign };
    if found.token > token {
        return Step::Fenced(Fenced { presented: token, newest: found.token });
    }
    // An answer was lost, and what looked like a conflict was this very write.
    if found.token == token && found.write == write {
        return Step::Done;
    }
    let content = edit(found.content);
    if found.token == token && content == found.content {
        return Step::Done;
    }
    Step::Write(sealed(&content), Condition::Version(object.version.clone()))
}

/// The guard of the objects in a store.
#[derive(Debug, Clone)]
pub struct ObjectGate<S> {
    store: S,
}

impl<S: ObjectStore> ObjectGate<S> {
    /// A guard on a store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Shuts all former leaders out of an object, and gives its content. Call it as soon as you
    /// are elected, before you rely on what is there.
    ///
    /// # Errors
    /// [`NotWritten`].
    ///
    /// # Cancel safety
    /// The object may have been claimed, or not; call it again.
    pub async fn claim(&self, key: &str, token: Token) -> Result<Vec<u8>, NotWritten<S::Error>> {
        self.update(key, token, <[u8]>::to_vec).await
    }

    /// Writes an object under a token.
    ///
    /// # Errors
    /// [`NotWritten`].
    ///
    /// # Cancel safety
    /// The object may have been written, or not; to write the same again does no harm.
    pub async fn put(
        &self,
        key: &str,
        token: Token,
        content: &[u8],
    ) -> Result<(), NotWritten<S::Error>> {
        self.update(key, token, |_| content.to_vec()).await.map(drop)
    }

    /// Changes an object under a token, as one step: `edit` makes the new content from the
    /// present one, and is asked again when somebody else was faster. Gives the new content.
    ///
    /// # Errors
    /// [`NotWritten`].
    ///
    /// # Cancel safety
    /// The object may have been changed, or not: `edit` must be able to see which.
    pub async fn update(
        &self,
        key: &str,
        token: Token,
        mut edit: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Vec<u8>, NotWritten<S::Error>> {
        let failed = |error| NotWritten::Store { key: key.to_owned(), error };
        let write = name().map_err(NotWritten::Unnamed)?;
        for _ in 0..ATTEMPTS {
            let present = self.store.read(key).await.map_err(failed)?;
            match decide(present.as_ref(), token, &write, &mut edit) {
                Step::Done => return Ok(content(present.map(|object| object.body))),
                Step::Fenced(fenced) => return Err(fenced.into()),
                Step::Foreign => return Err(NotWritten::Foreign(key.to_owned())),
                Step::Write(body, condition) => {
                    let written = self.store.write(key, body.clone(), condition).await;
                    if written.map_err(failed)? == Written::Done {
                        return Ok(content(Some(body)));
                    }
                }
            }
        }
        Err(NotWritten::Contended(key.to_owned()))
    }
}

fn content(body: Option<Vec<u8>>) -> Vec<u8> {
    let body = body.unwrap_or_default();
    Sealed::parse(&body).map(|sealed| sealed.content.to_vec()).unwrap_or_default()
}

/// A name that no other write has.
fn name() -> Result<String, String> {
    let drawn = getrandom::u64().map_err(|error| error.to_string())?;
    Ok(format!("{drawn:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(token: u64, write: &str, content: &[u8]) -> Object {
        let body = Sealed { token: Token::new(token), write, content }.to_bytes();
        Object { version: format!("v{token}"), body }
    }

    fn step(present: Option<&Object>, content: &[u8]) -> Step {
        decide(present, Token::new(5), "w", |_| content.to_vec())
    }

    #[test]
    fn a_write_depends_on_the_version_whose_token_was_read() {
        let body = object(5, "w", b"new").body;
        assert_eq!(step(None, b"new"), Step::Write(body.clone(), Condition::Absent));
        for older in [1, 5] {
            let version = Condition::Version(format!("v{older}"));
            let found = object(older, "before", b"old");
            assert_eq!(step(Some(&found), b"new"), Step::Write(body.clone(), version));
        }
        let fenced = Fenced { presented: Token::new(5), newest: Token::new(6) };
        assert_eq!(step(Some(&object(6, "w", b"new")), b"new"), Step::Fenced(fenced));
    }

    #[test]
    fn what_is_there_under_this_token_is_done_and_under_another_is_not() {
        assert_eq!(step(Some(&object(5, "before", b"x")), b"x"), Step::Done);
        // The same content under an older token must be written: that shuts the older one out.
        let version = Condition::Version(String::from("v4"));
        let claim = Step::Write(object(5, "w", b"x").body, version);
        assert_eq!(step(Some(&object(4, "before", b"x")), b"x"), claim);
        // Its own write, found again; also by another leader's write of the same name.
        assert_eq!(step(Some(&object(5, "w", b"y")), b"x"), Step::Done);
        assert!(matches!(step(Some(&object(4, "w", b"x")), b"x"), Step::Write(..)));
    }

    #[test]
    fn a_sealed_object_gives_back_what_went_in_and_nothing_else_is_one() {
        for content in [&b""[..], b"\n", b"tenure-fence 1 9 w\n", &[0, 255, 10]] {
            let sealed = Sealed { token: Token::new(42), write: "w1", content };
            assert_eq!(Sealed::parse(&sealed.to_bytes()), Some(sealed));
        }
        for foreign in [
            "",
            "42\n",
            "tenure-fence 1 42 w",
            "tenure-fence 1 42\nx",
            "tenure-fence 1 042 w\nx",
            "tenure-fence 1 +4 w\n",
            "tenure-fence 1 4 \n",
            "tenure-fence 1 4 a b\n",
        ] {
            assert_eq!(Sealed::parse(foreign.as_bytes()), None, "{foreign}");
            let found = Object { version: String::new(), body: foreign.as_bytes().to_vec() };
            assert_eq!(step(Some(&found), b"x"), Step::Foreign);
        }
    }

    /// A store that loses its answer once: it writes, and says that there was a conflict.
    struct Forgetful(std::sync::Mutex<(Option<Object>, usize)>);

    impl ObjectStore for &Forgetful {
        type Error = core::convert::Infallible;

        async fn read(&self, _key: &str) -> Result<Option<Object>, Self::Error> {
            Ok(self.0.lock().unwrap().0.clone())
        }

        async fn write(
            &self,
            _key: &str,
            body: Vec<u8>,
            condition: Condition,
        ) -> Result<Written, Self::Error> {
            let mut inner = self.0.lock().unwrap();
            let holds = match condition {
                Condition::Absent => inner.0.is_none(),
                Condition::Version(version) => {
                    inner.0.as_ref().is_some_and(|object| object.version == version)
                }
            };
            assert!(holds, "nobody else writes");
            inner.1 += 1;
            inner.0 = Some(Object { version: inner.1.to_string(), body });
            Ok(if inner.1 == 1 { Written::Conflict } else { Written::Done })
        }
    }

    #[tokio::test]
    async fn a_change_whose_answer_was_lost_is_not_made_twice() {
        let store = Forgetful(std::sync::Mutex::default());
        let gate = ObjectGate::new(&store);
        for expected in [&b"+"[..], b"++"] {
            let more = |content: &[u8]| [content, b"+"].concat();
            assert_eq!(gate.update("k", Token::new(1), more).await.unwrap(), expected);
        }
        assert_eq!(gate.claim("k", Token::new(1)).await.unwrap(), b"++");
        assert_eq!(store.0.lock().unwrap().1, 2, "a claim of one's own writes nothing");
        assert_eq!(gate.claim("k", Token::new(2)).await.unwrap(), b"++");
        let error = gate.put("k", Token::new(1), b"late").await.unwrap_err();
        assert!(matches!(error, NotWritten::Fenced(_)), "{error}");
    }
}
