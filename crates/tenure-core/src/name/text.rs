//! Text that is shared by all its clones: a name is said a hundred times for once that it is chosen.

use alloc::sync::Arc;
use core::{cmp::Ordering, fmt, marker::PhantomData, str::FromStr};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::NameError;

/// Text that never changes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Text(Arc<str>);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Reads a text and checks it.
pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = NameError>,
{
    deserializer.deserialize_str(Checked(PhantomData))
}

struct Checked<T>(PhantomData<T>);

impl<T: FromStr<Err = NameError>> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
