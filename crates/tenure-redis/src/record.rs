//! What the scripts say, in our words.

use core::time::Duration;
use redis::{ErrorKind, FromRedisValue, ParsingError, RedisError, Value};
use tenure_core::{
    CandidateId, Incarnation, Leader, Revision, SessionId, Token, WallTime, backend::Holding,
    timing::Ttl,
};

/// How one election stands, as a script reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The server's clock, in microseconds.
    pub(crate) now: u64,
    /// The last token; none when the server knows nothing about the election.
    pub(crate) token: Option<u64>,
    pub(crate) holder: Option<(SessionId, Leader)>,
    pub(crate) again: Option<Duration>,
}

impl Standing {
    /// In the words of the port. `floor` is the highest revision seen before: a server that has
    /// lost a part of its data may show a lease that was ended since.
    pub(crate) fn holding(self, floor: u64) -> Holding {
        let revision = self.token.unwrap_or(self.now).max(floor);
        let holder = self.holder.filter(|(_, leader)| leader.token.get() >= floor);
        Holding { holder, revision: Revision::new(revision), position: 1, again: self.again }
    }
}

/// Whether the server is still the start that was talked to, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// It is another one.
    Moved,
    /// Too early to say who holds it.
    Quiet(Duration),
    Done(T),
}

fn strange(what: &str, value: &Value) -> RedisError {
    let detail = format!("{what}: {value:?}");
    RedisError::from((ErrorKind::Parse, "a script gave what is not ours", detail))
}

fn optional<T: FromRedisValue>(value: Value) -> Result<Option<T>, ParsingError> {
    match value {
        // Lua's false.
        Value::Nil | Value::Boolean(false) => Ok(None),
        value => T::from_redis_value(value).map(Some),
    }
}

pub(crate) fn acquired(value: Value) -> Result<Verdict<Standing>, RedisError> {
    let Value::Array(mut parts) = value else { return Err(strange("acquire", &value)) };
    let Some(first) = (!parts.is_empty()).then(|| parts.remove(0)) else {
        return Err(strange("acquire", &Value::Array(parts)));
    };
    match String::from_redis_value(first)?.as_str() {
        "moved" => Ok(Verdict::Moved),
        "quiet" => {
            let wait = parts.pop().unwrap_or(Value::Nil);
            Ok(Verdict::Quiet(Duration::from_millis(u64::from_redis_value(wait)?)))
        }
        _ => {
            let [now, token, lease, again] = <[Value; 4]>::try_from(parts)
                .map_err(|parts| strange("acquire", &Value::Array(parts)))?;
            standing(u64::from_redis_value(now)?, token, lease, again).map(Verdict::Done)
        }
    }
}

/// The places of what is not held any more.
pub(crate) fn renewed(value: Value) -> Result<Verdict<Vec<usize>>, RedisError> {
    let Value::Array(mut parts) = value else { return Err(strange("renew", &value)) };
    let Some(first) = (!parts.is_empty()).then(|| parts.remove(0)) else {
        return Err(strange("renew", &Value::Array(parts)));
    };
    if String::from_redis_value(first)? == "moved" {
        return Ok(Verdict::Moved);
    }
    let places = parts.into_iter().map(usize::from_redis_value);
    Ok(Verdict::Done(places.collect::<Result<_, _>>()?))
}

pub(crate) fn looked(value: Value) -> Result<Vec<Standing>, RedisError> {
    let Value::Array(parts) = value else { return Err(strange("look", &value)) };
    let mut parts = parts.into_iter();
    let now = u64::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
    let stood = parts.map(|part| match part {
        Value::Array(part) => {
            let [token, lease, again] = <[Value; 3]>::try_from(part)
                .map_err(|part| strange("look", &Value::Array(part)))?;
            standing(now, token, lease, again)
        }
        part => Err(strange("look", &part)),
    });
    stood.collect()
}

fn standing(now: u64, token: Value, lease: Value, again: Value) -> Result<Standing, RedisError> {
    let token = optional::<u64>(token)?;
    let holder = match optional::<String>(lease)? {
        Some(text) => Some(lease_of(&text).ok_or_else(|| strange("lease", &Value::Nil))?),
        None => None,
    };
    let again = i64::from_redis_value(again)?;
    let again = u64::try_from(again).ok().map(Duration::from_millis);
    Ok(Standing { now, token, holder, again })
}

/// `token process session ttl since candidate`, and in the second line the value.
fn lease_of(text: &str) -> Option<(SessionId, Leader)> {
    let (head, value) = text.split_once('\n')?;
    let parts: Vec<_> = head.split(' ').collect();
    let [token, process, session, ttl, since, candidate] = parts.as_slice() else { return None };
    let process = Incarnation::from_random(process.parse().ok()?);
    let session = SessionId { process, number: session.parse().ok()? };
    let leader = Leader {
        id: CandidateId::new(*candidate).ok()?,
        value: tenure_core::Value::new(value).ok()?,
        token: Token::new(token.parse().ok()?),
        ttl: Ttl::new(Duration::from_millis(ttl.parse().ok()?)).ok()?,
        since: WallTime::from_micros(since.parse().ok()?),
    };
    Some((session, leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = "7 18446744073709551615 3 400 1795262866537373 c0\n10.0.0.1:80 x";

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn stands(token: Value, lease: Value, again: i64) -> Value {
        Value::Array(vec![text("stands"), Value::Int(900), token, lease, Value::Int(again)])
    }

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let verdict = acquired(stands(Value::Int(7), text(LEASE), 12)).unwrap();
        let Verdict::Done(standing) = verdict else { panic!("{verdict:?}") };
        let holding = standing.holding(0);
        let (session, leader) = holding.holder.clone().unwrap();
        assert_eq!((session.process.get(), session.number), (u64::MAX, 3));
        assert_eq!((leader.id.as_str(), leader.value.as_str()), ("c0", "10.0.0.1:80 x"));
        assert_eq!((leader.token.get(), holding.revision.get()), (7, 7));
        assert_eq!(holding.again, Some(Duration::from_millis(12)));
    }

    #[test]
    fn what_was_ended_before_stays_ended() {
        let Verdict::Done(old) = acquired(stands(Value::Int(7), text(LEASE), 12)).unwrap() else {
            panic!("no standing")
        };
        let holding = old.holding(8);
        assert_eq!((holding.holder, holding.revision.get()), (None, 8));
        let lost = Value::Array(vec![
            Value::Int(900),
            Value::Array(vec![Value::Nil, Value::Nil, Value::Int(-1)]),
        ]);
        let lost = looked(lost).unwrap().remove(0);
        assert_eq!(lost.clone().holding(8).revision.get(), 900);
        assert_eq!(lost.holding(901).revision.get(), 901);
    }

    #[test]
    fn what_is_not_ours_is_an_error() {
        for lease in ["", "7", "7 1 1 400 9 c0", "x 1 1 400 9 c0\n", "7 1 1 400 9 c 0\nv"] {
            assert!(acquired(stands(Value::Int(7), text(lease), 12)).is_err(), "{lease}");
        }
        assert!(acquired(Value::Array(vec![])).is_err());
        assert!(renewed(Value::Okay).is_err());
        assert!(looked(Value::Array(vec![Value::Int(1), Value::Int(2)])).is_err());
    }

    #[test]
    fn a_renewal_names_what_is_gone() {
        let gone = Value::Array(vec![text("renewed"), Value::Int(0), Value::Int(4)]);
        assert_eq!(renewed(gone).unwrap(), Verdict::Done(vec![0, 4]));
        let moved = Value::Array(vec![text("moved"), text("x-y")]);
        assert_eq!(renewed(moved).unwrap(), Verdict::Moved);
    }
}
