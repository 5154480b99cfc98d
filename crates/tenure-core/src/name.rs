//! Names that people choose: checked once, at construction.

mod text;

use alloc::{borrow::ToOwned, string::String};
use core::fmt;
use serde::{Deserialize, Deserializer, Serialize};

use text::Text;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("{what} is empty: give at least one character")]
    Empty {
        /// Which kind of name.
        what: &'static str,
    },
    /// The name is longer than its kind allows.
    #[error("{what} has {length} bytes, at most {max} are allowed")]
    TooLong {
        /// Which kind of name.
        what: &'static str,
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The name holds a character outside the allowed set.
    #[error("{what} {name:?} holds {character:?}: allowed are letters, digits and . _ : / @ -")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The whole name.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

fn check(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, length: name.len(), max });
    }
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'-')
    };
    if name.bytes().all(allowed) {
        return Ok(());
    }
    let refused = name.chars().find(|c| !u8::try_from(*c).is_ok_and(allowed));
    let character = refused.unwrap_or_default();
    Err(NameError::Character { what, name: name.to_owned(), character })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        ///
        /// A clone shares the text.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Text);

        impl $type {
            /// Longest name allowed, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Checks and keeps a name.
            ///
            /// # Errors
            /// [`NameError`] when the name is empty, too long, or holds a character other than
            /// ASCII letters, digits and `. _ : / @ -`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                name.into().parse()
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl core::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                check($what, name, $max)?;
                Ok(Self(Text::from(name)))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

name!(
    /// Name of an election, for example `billing/nightly`.
    ElectionName,
    "election name",
    255
);
name!(
    /// Name under which one process contends, for example `worker-7`.
    CandidateId,
    "candidate id",
    255
);
name!(
    /// Name of a node of the quorum, for example `n1`.
    NodeName,
    "node name",
    63
);

name!(
    /// Where a node is, as far as failures go: what lies in one zone may fail together. For
    /// example `eu-west-1a` or `rack-12`.
    Zone,
    "zone",
    63
);

/// What a leader tells observers about itself, for example `10.0.0.2:8080`: text of at most
/// 4096 bytes without control characters. A clone shares the text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Value(Text);

impl Value {
    /// Longest value allowed, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Checks and keeps a value. An empty value is allowed.
    ///
    /// # Errors
    /// [`NameError`] when the value is too long or holds a control character.
    pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
        value.into().parse()
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl TryFrom<String> for Value {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        Self::new(value)
    }
}

impl core::str::FromStr for Value {
    type Err = NameError;
    fn from_str(value: &str) -> Result<Self, NameError> {
        let (what, length, max) = ("value", value.len(), Self::MAX_BYTES);
        if length > max {
            return Err(NameError::TooLong { what, length, max });
        }
        match value.chars().find(|c| c.is_control()) {
            Some(character) => {
                Err(NameError::Character { what, name: value.to_owned(), character })
            }
            None => Ok(Self(Text::from(value))),
        }
    }
}

impl From<Value> for String {
    fn from(value: Value) -> String {
        value.as_str().to_owned()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        assert_eq!(ElectionName::new("").unwrap_err(), NameError::Empty { what: "election name" });
        let error = CandidateId::new("a b").unwrap_err();
        assert!(matches!(error, NameError::Character { character: ' ', .. }), "{error}");
        assert!(NodeName::new("x".repeat(64)).is_err());
        assert!(ElectionName::new("billing/nightly@eu-1").is_ok());
        assert!(Value::new("line\nbreak").is_err());
        assert!(Value::new("").is_ok());
    }

    #[test]
    fn a_bad_name_in_data_from_outside_is_an_error_and_not_a_name() {
        let parsed: Result<ElectionName, _> = serde_json::from_str("\"a\\u0000b\"");
        assert!(parsed.is_err());
    }
}
