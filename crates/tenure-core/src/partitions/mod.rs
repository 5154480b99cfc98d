//! Leaders of many partitions: the numbered elections of one family, spread evenly over those
//! who are there.
//!
//! Nobody assigns. Every participant takes a *seat*, an election of its own kind whose leader's
//! value says how much it takes; whoever follows the seats knows who is there, and whoever follows
//! the partitions knows who leads what. From both everybody computes the same [`plan`], contends
//! for what the plan gives it and hands over what the plan gives to others. Views that differ for
//! a while cost balance, never safety: each partition is an election with a lease and a token.
//!
//! **Invariant:** nothing here decides who leads. It only decides who contends, and when a leader
//! hands over.

mod plan;
mod sharing;

use alloc::{
    format,
    string::{String, ToString},
};

pub use plan::{Appetite, plan};
pub use sharing::{Action, Sharing};

use crate::{ElectionName, NameError, Value};

/// Participants that can sit at once; more of them wait for a seat.
pub const MAX_SEATS: u32 = 128;
/// Partitions of one family.
pub const MAX_PARTITIONS: u32 = 4096;

/// The election of a partition: `orders/7`.
///
/// # Errors
/// When the family's name is too long, or no name at all.
pub fn partition_name(family: &str, number: u32) -> Result<ElectionName, NameError> {
    ElectionName::new(format!("{family}/{number}"))
}

/// The election of a seat: `orders/seat/3`.
///
/// # Errors
/// When the family's name is too long, or no name at all.
pub fn seat_name(family: &str, number: u32) -> Result<ElectionName, NameError> {
    ElectionName::new(format!("{family}/seat/{number}"))
}

/// Seats of a family: a participant more than there are partitions would have nothing to lead.
#[must_use]
pub fn seats(partitions: u32) -> u32 {
    partitions.min(MAX_SEATS)
}

impl Appetite {
    /// As the value that a seat's leader shows: `weight=2 max=10`.
    #[must_use]
    pub fn to_value(self) -> Value {
        let text = match self.max {
            Some(max) => format!("weight={} max={max}", self.weight),
            None => format!("weight={}", self.weight),
        };
        // Letters, digits and a blank, a few of them.
        Value::new(text).unwrap_or_default()
    }

    /// From such a value. What is not said, or said in another way by a later version, is as by
    /// default.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        let of = |name: &str| {
            let mut words = value.as_str().split(' ');
            words.find_map(|word| word.strip_prefix(name)).map(ToString::to_string)
        };
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u32>().ok());
        let weight = number(of("weight=")).and_then(|weight| u16::try_from(weight).ok());
        Self { weight: weight.unwrap_or(1), max: number(of("max=")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appetite_survives_as_a_value() {
        for appetite in [
            Appetite::default(),
            Appetite { weight: 0, max: None },
            Appetite { weight: 7, max: Some(12) },
        ] {
            assert_eq!(Appetite::from_value(&appetite.to_value()), appetite);
        }
        let strange = Value::new("weight=many colour=red").expect("a value");
        assert_eq!(Appetite::from_value(&strange), Appetite::default());
    }

    #[test]
    fn names_are_numbered() {
        assert_eq!(partition_name("orders", 7).expect("a name").as_str(), "orders/7");
        assert_eq!(seat_name("orders", 0).expect("a name").as_str(), "orders/seat/0");
        assert!(partition_name("", 7).is_ok(), "an empty family is caught by whoever takes one");
    }
}
