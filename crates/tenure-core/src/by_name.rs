//! One of a hundred thousand elections, found without reading the names of the others.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt, marker::PhantomData};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use crate::ElectionName;

/// What belongs to elections, by their names.
///
/// In the order of names every step of a search reads the text of a name, each of them somewhere
/// else in memory. Here they are in the order of a number that is drawn from the name and lies in
/// the tree itself: the same on every node, so two maps with the same content are equal and are
/// written in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByName<T>(BTreeMap<Key, T>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    hash: u64,
    name: ElectionName,
}

impl Key {
    fn of(name: &ElectionName) -> Self {
        Self { hash: fnv(name.as_str()), name: name.clone() }
    }
}

/// FNV-1a: short texts, no secrets, and the same for ever. Whoever chooses names that collide
/// makes a search read names again, no more.
fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> ByName<T> {
    /// What belongs to this election.
    #[must_use]
    pub fn get(&self, name: &ElectionName) -> Option<&T> {
        self.0.get(&Key::of(name))
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, name: &ElectionName) -> Option<&mut T> {
        self.0.get_mut(&Key::of(name))
    }

    /// The same; what is not there yet begins as its default.
    pub fn get_or_default(&mut self, name: &ElectionName) -> &mut T
    where
        T: Default,
    {
        self.0.entry(Key::of(name)).or_default()
    }

    /// Takes out what belongs to this election.
    pub fn remove(&mut self, name: &ElectionName) -> Option<T> {
        self.0.remove(&Key::of(name))
    }

    /// Whether there is something for this election.
    #[must_use]
    pub fn contains(&self, name: &ElectionName) -> bool {
        self.0.contains_key(&Key::of(name))
    }

    /// How many elections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in an order that means nothing and is always the same.
    pub fn iter(&self) -> impl Iterator<Item = (&ElectionName, &T)> {
        self.0.iter().map(|(key, value)| (&key.name, value))
    }

    /// Those whose name begins with `prefix`, in the order of their names.
    #[must_use]
    pub fn sorted(&self, prefix: &str) -> Vec<(&ElectionName, &T)> {
        let mut found: Vec<_> =
            self.iter().filter(|(name, _)| name.as_str().starts_with(prefix)).collect();
        found.sort_unstable_by_key(|(name, _)| *name);
        found
    }
}

impl<T> FromIterator<(ElectionName, T)> for ByName<T> {
    fn from_iter<I: IntoIterator<Item = (ElectionName, T)>>(all: I) -> Self {
        Self(all.into_iter().map(|(name, value)| (Key::of(&name), value)).collect())
    }
}

impl<T: Serialize> Serialize for ByName<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The length goes first in some formats, so it must be known.
        let entries = self.0.iter();
        serializer.collect_map(entries.map(|(key, value)| (&key.name, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = ByName<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names of elections")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<T>, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<ElectionName, T>()? {
            all.insert(Key::of(&name), value);
        }
        Ok(ByName(all))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, format, string::ToString};

    use super::*;

    fn name(number: u32) -> ElectionName {
        ElectionName::new(format!("jobs/{number:03}")).expect("a name")
    }

    #[test]
    fn what_goes_in_is_found_listed_in_order_and_read_back_as_any_map_of_names() {
        let mut numbers: ByName<u32> = (0..500).map(|number| (name(number), number)).collect();
        assert!((0..500).all(|number| numbers.get(&name(number)) == Some(&number)));
        assert_eq!(numbers.remove(&name(7)), Some(7));
        assert!(!numbers.contains(&name(7)));
        *numbers.get_or_default(&name(600)) += 1;
        assert_eq!(numbers.len(), 500);
        let listed: Vec<_> = numbers.sorted("jobs/00").iter().map(|(_, it)| **it).collect();
        assert_eq!(listed, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
        // As it was written while this was a tree by name, and the other way round.
        let by_name: BTreeMap<_, _> = numbers.iter().map(|(name, it)| (name, *it)).collect();
        let written = serde_json::to_string(&by_name).expect("text keys");
        assert_eq!(serde_json::from_str::<ByName<u32>>(&written).ok(), Some(numbers.clone()));
        let written = serde_json::to_string(&numbers).expect("text keys");
        let read: BTreeMap<ElectionName, u32> = serde_json::from_str(&written).expect("a map");
        assert_eq!(read.len(), by_name.len());
    }

    #[test]
    fn the_order_is_the_same_on_every_machine_and_for_ever() {
        let all: ByName<()> = ["a", "b", "billing/nightly"]
            .into_iter()
            .map(|text| (ElectionName::new(text).expect("a name"), ()))
            .collect();
        let order: Vec<_> = all.iter().map(|(name, ())| name.to_string()).collect();
        assert_eq!(order, ["a", "b", "billing/nightly"]);
        assert_eq!(fnv("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
