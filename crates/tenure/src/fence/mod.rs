//! The resource's side: refuse whoever comes with an older token.
//!
//! A leader can be paused between its last check and its effect for any length of time. Only
//! the resource can tell then that somebody else leads by now, by remembering the newest token
//! it has seen. A [`Gate`] does that for one process, a [`FileGate`] for several processes and
//! across crashes, a [`DurableGate`] with a mark of your own. Databases check inside their own
//! transaction: [`POSTGRES`] and [`REDIS`] are ready-made for that, for any language. Stores of
//! objects compare versions, see [`object`].
//!
//! ```
//! use tenure::{Token, fence::Gate};
//!
//! let gate = Gate::default();
//! assert!(gate.admit(Token::new(41)).is_ok());
//! assert!(gate.admit(Token::new(42)).is_ok()); // a new leader
//! let fenced = gate.admit(Token::new(41)).unwrap_err(); // the former one wakes up
//! assert_eq!(fenced.newest, Token::new(42));
//! ```

mod file;
pub mod object;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::Token;

pub use file::{FileGate, FileMark, FilePass};
pub use object::{ObjectGate, ObjectStore};

/// SQL that makes a guard in PostgreSQL: `tenure_admit(resource, token)`, to be called first in
/// the transaction that writes, and the trigger function `tenure_guard`, which refuses writes to
/// a table without a current token.
pub const POSTGRES: &str = include_str!("postgres.sql");

/// A Lua script that runs a Redis command if its token is current:
/// `EVAL script 2 MARK KEY TOKEN SET KEY value`.
pub const REDIS: &str = include_str!("redis.lua");

/// A token that is not the newest any more: whoever presents it leads no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token {presented} is stale: {newest} was presented since, so another one leads")]
pub struct Fenced {
    /// What was presented.
    pub presented: Token,
    /// The newest token ever admitted.
    pub newest: Token,
}

/// Remembers the newest token, for as long as this process lives.
#[derive(Debug, Default)]
pub struct Gate {
    newest: RwLock<Token>,
}

/// While it exists no newer token is admitted: the effect that it was given for cannot be
/// overtaken.
#[derive(Debug)]
pub struct Pass<'a> {
    _newest: RwLockReadGuard<'a, Token>,
}

impl Gate {
    /// Lets the newest token in, and every later effect under the same one.
    ///
    /// An effect that comes after the answer can be overtaken by a newer leader's: where that
    /// matters, keep a [`Pass`] until the effect is done.
    ///
    /// # Errors
    /// [`Fenced`] for a token that is not the newest.
    pub fn admit(&self, token: Token) -> Result<(), Fenced> {
        self.enter(token).map(drop)
    }

    /// As [`Gate::admit`], and keeps newer tokens out until the pass is dropped.
    ///
    /// # Errors
    /// [`Fenced`] for a token that is not the newest.
    pub fn enter(&self, token: Token) -> Result<Pass<'_>, Fenced> {
        loop {
            let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
            if *newest > token {
                return Err(Fenced { presented: token, newest: *newest });
            }
            if *newest == token {
                return Ok(Pass { _newest: newest });
            }
            drop(newest);
            let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
            *newest = token.max(*newest);
        }
    }

    /// The newest token so far; zero when there was none.
    #[must_use]
    pub fn newest(&self) -> Token {
        *self.newest.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the newest token is remembered: one for each resource, shared by everybody who guards
/// it.
pub trait Mark {
    /// What can go wrong with it.
    type Error;

    /// Raises the mark to `token` unless it is there or higher already, and gives the mark.
    ///
    /// Whatever is given must be safe from crashes, and no two callers may each be given their
    /// own lower token after a higher one was given to anybody.
    ///
    /// # Errors
    /// When the mark could not be read, raised or made safe. The token is not admitted.
    fn raise(&self, token: Token) -> Result<Token, Self::Error>;
}

/// A token was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted<E> {
    /// It is not the newest.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// Whether it is could not be found out, so it is not.
    #[error("whether the token is the newest cannot be found out: {0}")]
    Mark(E),
}

/// A gate whose mark is kept somewhere.
#[derive(Debug)]
pub struct DurableGate<M> {
    mark: M,
}

impl<M: Mark> DurableGate<M> {
    /// A gate on a mark.
    pub fn new(mark: M) -> Self {
        Self { mark }
    }

    /// Lets the newest token in, and every later effect under the same one.
    ///
    /// # Errors
    /// [`NotAdmitted::Fenced`] for a token that is not the newest, [`NotAdmitted::Mark`] when
    /// that cannot be found out.
    pub fn admit(&self, token: Token) -> Result<(), NotAdmitted<M::Error>> {
        let newest = self.mark.raise(token).map_err(NotAdmitted::Mark)?;
        match newest > token {
            true => Err(Fenced { presented: token, newest }.into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_token_passes() {
        let gate = Gate::default();
        for (token, passes) in [(3, true), (3, true), (2, false), (7, true), (3, false), (7, true)]
        {
            assert_eq!(gate.admit(Token::new(token)).is_ok(), passes, "{token}");
        }
        assert_eq!(gate.newest(), Token::new(7));
    }

    #[test]
    fn a_pass_keeps_newer_tokens_out_until_its_effect_is_done() {
        let gate = Gate::default();
        let done = std::sync::atomic::AtomicBool::new(false);
        let pass = gate.enter(Token::new(1)).unwrap();
        // Others under the same token come and go.
        gate.admit(Token::new(1)).unwrap();
        std::thread::scope(|scope| {
            let newer = scope.spawn(|| {
                gate.admit(Token::new(2)).unwrap();
                assert!(done.load(std::sync::atomic::Ordering::SeqCst), "overtaken");
            });
            std::thread::yield_now();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            drop(pass);
            newer.join().unwrap();
        });
        assert!(gate.enter(Token::new(1)).is_err());
    }

    #[test]
    fn a_mark_that_cannot_be_raised_admits_nobody() {
        struct Broken;
        impl Mark for Broken {
            type Error = &'static str;
            fn raise(&self, _token: Token) -> Result<Token, Self::Error> {
                Err("no answer")
            }
        }
        let error = DurableGate::new(Broken).admit(Token::new(9)).unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
    }
}
