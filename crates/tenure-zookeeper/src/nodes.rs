//! What is kept in ZooKeeper, and under which paths.
//!
//! ```text
//! BASE/elections/NAME/SESSION-0000000042    a candidacy: ephemeral, sequential
//! BASE/slots/NAME                           the last slot of its work that was taken
//! BASE/sessions/SESSION                     a session: ephemeral, written to by each renewal
//! ```
//!
//! `SESSION` is our session's id, so whoever created a node is known from its name, also when
//! the answer to the creation was lost.

use tenure_core::{ElectionName, SessionId};

/// The paths below one node.
#[derive(Debug, Clone)]
pub(crate) struct Paths(String);

impl Paths {
    pub(crate) fn below(base: String) -> Self {
        Self(base)
    }

    pub(crate) fn elections(&self) -> String {
        format!("{}/elections", self.0)
    }

    pub(crate) fn slots(&self) -> String {
        format!("{}/slots", self.0)
    }

    pub(crate) fn slot(&self, election: &ElectionName) -> String {
        self.election(election).replacen(&self.elections(), &self.slots(), 1)
    }

    pub(crate) fn sessions(&self) -> String {
        format!("{}/sessions", self.0)
    }

    pub(crate) fn session(&self, session: SessionId) -> String {
        format!("{}/{}", self.sessions(), tag(session))
    }

    /// A slash becomes `!` and a dot at the beginning `%`, which occur in no name: nodes cannot
    /// be called `.` or `..`.
    pub(crate) fn election(&self, election: &ElectionName) -> String {
        let mut name = election.as_str().replace('/', "!");
        if name.starts_with('.') {
            name.replace_range(..1, "%");
        }
        format!("{}/{name}", self.elections())
    }

    /// How the path of a session's candidacies begins; ZooKeeper adds the number.
    pub(crate) fn candidacy(&self, election: &ElectionName, session: SessionId) -> String {
        format!("{}/{}-", self.election(election), tag(session))
    }
}

fn tag(session: SessionId) -> String {
    format!("{:016x}-{}", session.process.get(), session.number)
}

/// Children of an election in the order of their creation; whatever is none is left out.
///
/// ZooKeeper numbers them with 32 bits that wrap around, so it is their distance that counts:
/// those that are there at the same time are never half of all numbers apart.
pub(crate) fn queue(children: Vec<String>) -> Vec<String> {
    let mut queue: Vec<(i32, String)> =
        children.into_iter().filter_map(|child| Some((number(&child)?, child))).collect();
    let Some(&(some, _)) = queue.first() else { return Vec::new() };
    queue.sort_by_key(|(number, _)| number.wrapping_sub(some));
    queue.into_iter().map(|(_, child)| child).collect()
}

/// The number at the end, which is negative once it has wrapped around.
fn number(child: &str) -> Option<i32> {
    let digits = child.char_indices().rev().take_while(|(_, c)| c.is_ascii_digit()).last()?.0;
    let rest = child.get(..digits)?;
    let begin = if rest.ends_with("--") { digits - 1 } else { digits };
    rest.contains('-').then(|| child.get(begin..)?.parse().ok()).flatten()
}

/// Whether a node is a candidacy of a session.
pub(crate) fn is_of(child: &str, session: SessionId) -> bool {
    child.strip_prefix(&tag(session)).is_some_and(|rest| rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tenure_core::Incarnation;

    fn session(process: u64, number: u32) -> SessionId {
        SessionId { process: Incarnation::from_random(process), number }
    }

    #[test]
    fn names_become_nodes_that_nobody_else_has() {
        let paths = Paths::below(String::from("/t"));
        let path = |name| paths.election(&ElectionName::new(name).unwrap());
        assert_eq!(path("a/b"), "/t/elections/a!b");
        assert_eq!(path(".."), "/t/elections/%.");
        assert_eq!(path("."), "/t/elections/%");
        assert_eq!(path("a.b"), "/t/elections/a.b");
        let election = ElectionName::new("a").unwrap();
        let own = paths.candidacy(&election, session(255, 3));
        assert_eq!(own, "/t/elections/a/00000000000000ff-3-");
    }

    #[test]
    fn own_nodes_are_told_from_those_of_sessions_with_longer_numbers() {
        assert!(is_of("00000000000000ff-3-0000000001", session(255, 3)));
        assert!(!is_of("00000000000000ff-30-0000000001", session(255, 3)));
        assert!(!is_of("00000000000000fe-3-0000000001", session(255, 3)));
    }

    #[test]
    fn the_first_created_is_the_first_also_when_numbers_wrap_around() {
        let names = |numbers: &[&str]| -> Vec<String> {
            numbers.iter().map(|number| format!("ab-1-{number}")).collect()
        };
        let mixed = names(&["0000000012", "0000000003", "0000000100"]);
        assert_eq!(queue(mixed), names(&["0000000003", "0000000012", "0000000100"]));
        let wrapped = names(&["-2147483647", "2147483646", "-2147483648"]);
        assert_eq!(queue(wrapped), names(&["2147483646", "-2147483648", "-2147483647"]));
        assert_eq!(queue(vec![String::from("lock"), String::from("7")]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_creation(start: i32, mut count in 1usize..40, seed in 0usize..40) {
            count = count.min(40);
            let created: Vec<String> = (0..count)
                .map(|at| start.wrapping_add(i32::try_from(at).unwrap()))
                .map(|number| format!("ab-1-{number:010}"))
                .collect();
            let mut mixed = created.clone();
            mixed.rotate_left(seed % count);
            prop_assert_eq!(queue(mixed), created);
        }
    }
}
