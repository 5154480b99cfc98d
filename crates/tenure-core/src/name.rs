//! Names that people choose: checked once, at construction.

use alloc::{borrow::ToOwned, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};

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
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    match name.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(NameError::Character { what, name: name.to_owned(), character }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Longest name allowed, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Checks and keeps a name.
            ///
            /// # Errors
            /// [`NameError`] when the name is empty, too long, or holds a character other than
            /// ASCII letters, digits and `. _ : / @ -`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check($what, &name, $max)?;
                Ok(Self(name))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
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
/// 4096 bytes without control characters.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Value(String);

impl Value {
    /// Longest value allowed, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Checks and keeps a value. An empty value is allowed.
    ///
    /// # Errors
    /// [`NameError`] when the value is too long or holds a control character.
    pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
        let value = value.into();
        if value.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong {
                what: "value",
                length: value.len(),
                max: Self::MAX_BYTES,
            });
        }
        match value.chars().find(|c| c.is_control()) {
            Some(character) => Err(NameError::Character { what: "value", name: value, character }),
            None => Ok(Self(value)),
        }
    }

    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
        Self::new(value)
    }
}

impl From<Value> for String {
    fn from(value: Value) -> String {
        value.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
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
