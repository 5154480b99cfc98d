//! The nodes of the cluster.

use alloc::{collections::BTreeMap, format, string::String};
use serde::{Deserialize, Serialize};

use super::{EventKind, Outcome, Refusal};
use crate::{NodeId, NodeName, Zone};

/// What a node is to the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes.
    Voter,
    /// Receives the log and does not vote (yet).
    Learner,
    /// Keeps no log: it serves the processes near it through a voter, and may be enrolled as a
    /// learner when one is needed.
    Member,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Where the other nodes reach it, `host:port`.
    pub address: String,
    /// What it is to the quorum.
    pub role: Role,
    /// The data directory it was first heard of with: a node that comes back with another one
    /// has lost its history and must not vote under its old id.
    pub directory: Option<u64>,
    /// Where it is, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// A voter in whose stead another one votes already: it gives its vote up as soon as a
    /// quorum is there without it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub retiring: bool,
}

impl Member {
    fn new(name: NodeName, address: String, role: Role) -> Self {
        Self { name, address, role, directory: None, zone: None, retiring: false }
    }
}

/// A change of the nodes. What changes who receives the log or votes travels as Raft membership
/// entries, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// A new node, which has no vote yet.
    Add {
        /// Its id, never used before. A [`Role::Member`] gets the next free one when this one
        /// is taken by then.
        id: NodeId,
        /// Its name, not in use.
        name: NodeName,
        /// Where the other nodes reach it.
        address: String,
        /// The data directory it comes with.
        directory: u64,
        /// [`Role::Learner`] or [`Role::Member`].
        role: Role,
        /// Where it is, if it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<Zone>,
    },
    /// A member begins to receive the log.
    Enrol {
        /// The member.
        id: NodeId,
    },
    /// A learner gets its vote.
    Promote {
        /// The learner.
        id: NodeId,
        /// A voter in whose stead it votes: that one is [`Member::retiring`] from then on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<NodeId>,
    },
    /// A voter becomes a learner, which may vote again.
    Demote {
        /// The voter.
        id: NodeId,
    },
    /// A node says that it is in another zone than before, or in none.
    Locate {
        /// The node.
        id: NodeId,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<Zone>,
    },
    /// A node leaves for good.
    Remove {
        /// The node.
        id: NodeId,
    },
    /// A first node was heard of for the first time.
    Seen {
        /// The node.
        id: NodeId,
        /// The data directory it came with.
        directory: u64,
    },
}

impl MemberChange {
    fn joins_the_log(&self) -> bool {
        !matches!(self, Self::Add { role: Role::Member, .. })
    }
}

/// All nodes, and the next free id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    nodes: BTreeMap<NodeId, Member>,
    /// Highest id ever used: ids are never used again.
    highest: u64,
}

impl Members {
    /// The first nodes of a cluster, all of them voters, numbered from 1 in the order given.
    #[must_use]
    pub fn founding(nodes: impl IntoIterator<Item = (NodeName, String)>) -> Self {
        let mut members = Self::default();
        for (name, address) in nodes {
            let id = members.next_id();
            members.highest = id.get();
            members.nodes.insert(id, Member::new(name, address, Role::Voter));
        }
        members
    }

    /// An id that no node has or had.
    #[must_use]
    pub fn next_id(&self) -> NodeId {
        NodeId::new(self.highest + 1).expect("one more than a number is not zero")
    }

    /// All nodes by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Member)> {
        self.nodes.iter().map(|(&id, member)| (id, member))
    }

    /// One node.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.nodes.get(&id)
    }

    /// The node of that name.
    #[must_use]
    pub fn find(&self, name: &NodeName) -> Option<(NodeId, &Member)> {
        self.iter().find(|(_, member)| member.name == *name)
    }

    /// Number of nodes that vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.nodes.values().filter(|member| member.role == Role::Voter).count()
    }

    /// Whether a change would be accepted, without making it.
    ///
    /// # Errors
    /// [`Refusal::Member`] with the reason in words.
    pub fn check(&self, change: &MemberChange) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Member { why });
        match change {
            MemberChange::Add { name, role: Role::Voter, .. } => {
                refuse(format!("{name} must receive the log before it votes"))
            }
            MemberChange::Add { id, name, .. } => {
                if let Some((other, _)) = self.find(name) {
                    return refuse(format!("a node named {name} is a member already (id {other})"));
                }
                // The id of a plain member is given here: many may be on their way at once.
                if id.get() <= self.highest && change.joins_the_log() {
                    return refuse(format!("node id {id} was used before"));
                }
                Ok(())
            }
            MemberChange::Promote { id, instead_of } => {
                let member = self.present(*id)?;
                if member.role == Role::Member {
                    return refuse(format!("{} must receive the log before it votes", member.name));
                }
                match instead_of.map(|id| self.present(id)).transpose()? {
                    Some(Member { name, role: Role::Learner | Role::Member, .. }) => {
                        refuse(format!("{name} does not vote: nobody can vote in its stead"))
                    }
                    Some(_) if *instead_of == Some(*id) => {
                        refuse(format!("{} cannot take its own place", member.name))
                    }
                    _ => Ok(()),
                }
            }
            MemberChange::Demote { id } => match self.present(*id)? {
                Member { name, role: Role::Member, .. } => refuse(format!("{name} does not vote")),
                Member { name, role: Role::Voter, .. } if self.voters() == 1 => {
                    refuse(format!("{name} is the last voter"))
                }
                _ => Ok(()),
            },
            MemberChange::Remove { id } => match self.present(*id)? {
                Member { name, role: Role::Voter, .. } if self.voters() == 1 => {
                    refuse(format!("{name} is the last voter"))
                }
                _ => Ok(()),
            },
            MemberChange::Enrol { id } | MemberChange::Locate { id, .. } => {
                self.present(*id).map(drop)
            }
            MemberChange::Seen { id, directory } => match self.present(*id)? {
                member if member.directory.is_some_and(|known| known != *directory) => {
                    refuse(format!("{} is known with another data directory", member.name))
                }
                _ => Ok(()),
            },
        }
    }

    fn present(&self, id: NodeId) -> Result<&Member, Refusal> {
        self.nodes
            .get(&id)
            .ok_or_else(|| Refusal::Member { why: format!("node {id} is not a member") })
    }

    /// Makes a change; the event is none when it had been made before.
    pub(super) fn apply(&mut self, change: MemberChange) -> (Outcome, Option<EventKind>) {
        if let Err(refusal) = self.check(&change) {
            return (Outcome::Refused(refusal), None);
        }
        match change {
            MemberChange::Add { id, name, address, directory, role, zone } => {
                let id = if role == Role::Member { self.next_id().max(id) } else { id };
                self.highest = id.get();
                let event =
                    EventKind::MemberAdded { id, name: name.clone(), address: address.clone() };
                let directory = Some(directory);
                let member = Member { directory, zone, ..Member::new(name, address, role) };
                self.nodes.insert(id, member);
                (Outcome::Member { id }, Some(event))
            }
            MemberChange::Enrol { id } => {
                let event = self.nodes.get_mut(&id).and_then(|member| {
                    let enrolled = member.role == Role::Member;
                    if enrolled {
                        member.role = Role::Learner;
                    }
                    enrolled.then(|| EventKind::MemberEnrolled { id, name: member.name.clone() })
                });
                (Outcome::Member { id }, event)
            }
            MemberChange::Promote { id, instead_of } => {
                // Said again of one that votes already, it takes nobody else's vote.
                let learns = self.nodes.get(&id).is_some_and(|it| it.role == Role::Learner);
                let other = instead_of.filter(|_| learns);
                if let Some(other) = other.and_then(|other| self.nodes.get_mut(&other)) {
                    other.retiring = true;
                }
                let event = self.nodes.get_mut(&id).and_then(|member| {
                    let promoted = member.role == Role::Learner;
                    member.role = Role::Voter;
                    promoted.then(|| EventKind::MemberPromoted { id, name: member.name.clone() })
                });
                (Outcome::Member { id }, event)
            }
            MemberChange::Demote { id } => {
                let event = self.nodes.get_mut(&id).and_then(|member| {
                    let voted = member.role == Role::Voter;
                    (member.role, member.retiring) = (Role::Learner, false);
                    voted.then(|| EventKind::MemberDemoted { id, name: member.name.clone() })
                });
                (Outcome::Member { id }, event)
            }
            MemberChange::Locate { id, zone } => {
                let event = self.nodes.get_mut(&id).and_then(|member| {
                    let moved = member.zone != zone;
                    member.zone.clone_from(&zone);
                    moved.then_some(EventKind::MemberLocated { id, zone })
                });
                (Outcome::Member { id }, event)
            }
            MemberChange::Remove { id } => {
                let member = self.nodes.remove(&id);
                let event = member.map(|member| EventKind::MemberRemoved { id, name: member.name });
                (Outcome::Member { id }, event)
            }
            MemberChange::Seen { id, directory } => {
                let event = self.nodes.get_mut(&id).and_then(|member| {
                    let first = member.directory.replace(directory).is_none();
                    first.then_some(EventKind::MemberSeen { id })
                });
                (Outcome::Member { id }, event)
            }
        }
    }
}
