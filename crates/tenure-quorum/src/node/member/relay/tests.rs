//! A relay between clients and a voter that are played by hand.

use tenure_core::{CandidateId, Leader, RequestId, Token, Value, timing::Ttl};

use super::*;

const MS: Duration = Duration::from_millis(1);
const PACE: Pace = Pace {
    every: Duration::from_millis(500),
    limit: Duration::from_secs(2),
    patience: Duration::from_secs(5),
};

struct Scene {
    relay: Relay,
    now: Moment,
}

impl Scene {
    /// With a voter, and clients 1 and 2.
    fn new() -> Self {
        let mut relay = Relay::new(PACE);
        let now = Moment::from_nanos(1_000_000_000_000);
        relay.client_up(1, process(1));
        relay.client_up(2, process(2));
        relay.connected(now);
        let mut scene = Self { relay, now };
        scene.effects();
        scene
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.relay.poll()).collect()
    }

    fn asked(&mut self, client: u64, number: u64, question: Question) -> Vec<Effect> {
        self.relay.asked(client, ClientFrame { number, question }, self.now);
        self.effects()
    }

    fn heard(&mut self, frame: NodeFrame) -> Vec<Effect> {
        self.relay.heard(frame, self.now);
        self.effects()
    }

    fn answered(&mut self, number: u64, reply: Reply) -> Vec<Effect> {
        self.heard(NodeFrame::Answer { number, reply })
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now = self.now + time;
        self.relay.pass_time(self.now);
        self.effects()
    }

    /// Answers the keepalive that is under way.
    fn keep_alive(&mut self, gone: Vec<SessionId>) -> Vec<Effect> {
        let number = self.relay.keepalive.as_ref().expect("a keepalive is under way").number;
        self.answered(number, Reply::Alive { gone, role: Some(Role::Member) })
    }

    /// The client has renewed its session once.
    fn renews(&mut self, client: u64) {
        let posted = self.asked(client, 1, Question::Renew { session: session(client) });
        self.answered(number_of(&posted), Reply::Renewed);
    }
}

fn process(number: u64) -> Incarnation {
    Incarnation::from_random(number)
}

fn session(client: u64) -> SessionId {
    SessionId { process: process(client), number: 1 }
}

fn demo() -> ElectionName {
    ElectionName::new("demo").unwrap()
}

fn led(revision: u64) -> Push {
    let leader = Leader {
        id: CandidateId::new("c").unwrap(),
        value: Value::new("").unwrap(),
        token: Token::new(revision),
        since: WallTime::default(),
        ttl: Ttl::new(Duration::from_secs(1)).unwrap(),
    };
    let view = View::Led(leader);
    let revision = Revision::new(revision);
    Push {
        election: demo(),
        sighting: Sighting { view, revision, age: Duration::ZERO, reason: None },
        holder: None,
        handover: false,
        revoked: false,
        candidates: 1,
        events: Vec::new(),
        mono_ns: 0,
    }
}

fn push(revision: u64) -> NodeFrame {
    NodeFrame::Push(Box::new(led(revision)))
}

/// The number under which the only question in here was posted.
fn number_of(effects: &[Effect]) -> u64 {
    let posted = effects.iter().filter_map(|effect| match effect {
        Effect::Post(frame) => Some(frame.number),
        _ => None,
    });
    let posted: Vec<_> = posted.collect();
    assert_eq!(posted.len(), 1, "{effects:?}");
    posted[0]
}

fn answers(effects: &[Effect]) -> Vec<(u64, u64, &Reply)> {
    let answer = |effect| match effect {
        &Effect::Answer { client, number, ref reply } => Some((client, number, reply)),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

fn pushed_to(effects: &[Effect]) -> Vec<(Vec<u64>, Revision)> {
    let pushed = |effect: &Effect| match effect {
        Effect::Push { clients, push } => {
            Some((clients.iter().copied().collect(), push.sighting.revision))
        }
        _ => None,
    };
    effects.iter().filter_map(pushed).collect()
}

#[test]
fn renewals_gather_while_a_keepalive_is_under_way_and_leave_together() {
    let mut scene = Scene::new();
    scene.renews(1);
    scene.renews(2);
    scene.keep_alive(Vec::new());
    let first = scene.asked(1, 7, Question::Renew { session: session(1) });
    let Effect::Post(frame) = &first[0] else { panic!("{first:?}") };
    assert_eq!(frame.question, Question::KeepAlive { sessions: vec![session(1)] });
    assert_eq!(scene.asked(2, 8, Question::Renew { session: session(2) }), []);
    assert_eq!(scene.asked(1, 9, Question::Renew { session: session(1) }), []);
    let effects = scene.keep_alive(Vec::new());
    assert_eq!(answers(&effects), [(1, 7, &Reply::Renewed)]);
    let Some(Effect::Post(frame)) = effects.last() else { panic!("{effects:?}") };
    let Question::KeepAlive { sessions } = &frame.question else { panic!("{frame:?}") };
    assert_eq!(sessions.len(), 2);
    let effects = scene.keep_alive(vec![session(2)]);
    assert_eq!(answers(&effects), [(2, 8, &Reply::Gone), (1, 9, &Reply::Renewed)]);
}

#[test]
fn whoever_came_over_from_another_node_hears_how_its_elections_stand_before_it_is_renewed() {
    let mut scene = Scene::new();
    let posted = scene.asked(
        1,
        1,
        Question::Subscribe { elections: vec![demo()], prefix: None, contends: false },
    );
    assert_eq!(pushed_to(&scene.heard(push(9))), [(vec![1], Revision::new(9))]);
    scene.answered(number_of(&posted), Reply::Subscribed);
    // Another client follows the election already, so a shared keepalive would say nothing.
    let posted = scene.asked(2, 5, Question::Renew { session: session(2) });
    let number = number_of(&posted);
    assert_eq!(pushed_to(&scene.heard(push(9))), [(vec![1, 2], Revision::new(9))]);
    assert_eq!(answers(&scene.answered(number, Reply::Renewed)), [(2, 5, &Reply::Renewed)]);
    assert_eq!(pushed_to(&scene.heard(push(10))), [(vec![1, 2], Revision::new(10))]);
}

#[test]
fn what_is_open_is_asked_again_on_the_next_connection() {
    let mut scene = Scene::new();
    scene.asked(
        1,
        1,
        Question::Subscribe { elections: vec![demo()], prefix: None, contends: false },
    );
    scene.heard(push(9));
    scene.keep_alive(Vec::new());
    scene.pass(600 * MS);
    scene.relay.disconnected("killed");
    scene.asked(
        2,
        3,
        Question::Subscribe { elections: Vec::new(), prefix: Some("x/".into()), contends: false },
    );
    assert_eq!(scene.pass(600 * MS), []);
    scene.relay.connected(scene.now);
    let posted: Vec<_> = scene.effects();
    let asks = |wanted: &Question| {
        posted.iter().any(|it| matches!(it, Effect::Post(frame) if frame.question == *wanted))
    };
    assert!(
        asks(&Question::Subscribe { elections: vec![demo()], prefix: None, contends: false }),
        "{posted:?}"
    );
    assert!(asks(&Question::Subscribe {
        elections: Vec::new(),
        prefix: Some("x/".into()),
        contends: false
    }));
    assert!(asks(&Question::KeepAlive { sessions: Vec::new() }));
    // What it proves is as old as its second sending.
    scene.now = scene.now + 100 * MS;
    scene.keep_alive(Vec::new());
    let shown = scene.asked(1, 2, Question::View { election: demo() });
    let [(1, 2, Reply::View(sighting))] = answers(&shown)[..] else { panic!("{shown:?}") };
    assert_eq!(sighting.age, 100 * MS);
}

#[test]
fn knowledge_that_grows_old_is_unknown_and_says_why() {
    let mut scene = Scene::new();
    scene.asked(
        1,
        1,
        Question::Subscribe { elections: vec![demo()], prefix: None, contends: false },
    );
    scene.heard(push(9));
    scene.pass(MS);
    scene.relay.disconnected("no route");
    assert_eq!(scene.pass(1900 * MS), []);
    let effects = scene.pass(200 * MS);
    let [Effect::Push { push, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((&push.sighting.view, push.sighting.revision), (&View::Unknown, Revision::new(9)));
    assert!(push.sighting.reason.as_ref().unwrap().contains("no route"));
    let shown = scene.asked(2, 2, Question::View { election: demo() });
    let [(2, 2, Reply::View(sighting))] = answers(&shown)[..] else { panic!("{shown:?}") };
    assert_eq!(sighting.view, View::Unknown);
    assert!(answers(&scene.pass(5000 * MS)).iter().any(|(.., reply)| {
        matches!(reply, Reply::Unavailable { why } if why.contains("no route"))
    }));
    scene.relay.connected(scene.now);
    scene.effects();
    let back = scene.keep_alive(Vec::new());
    assert_eq!(pushed_to(&back), [(vec![1], Revision::new(9))]);
}

#[test]
fn a_voter_that_is_behind_does_not_take_views_back() {
    let mut scene = Scene::new();
    scene.asked(
        1,
        1,
        Question::Subscribe { elections: vec![demo()], prefix: None, contends: false },
    );
    scene.heard(push(9));
    assert_eq!(pushed_to(&scene.heard(push(7))), [(vec![1], Revision::new(9))]);
}

#[test]
fn nobody_speaks_for_another_process() {
    let mut scene = Scene::new();
    let open = Command::OpenSession {
        session: session(2),
        ttl: Ttl::new(Duration::from_secs(1)).unwrap(),
        supersedes: None,
    };
    let request = RequestId { process: process(1), number: 1 };
    let wish = Question::Wish { request, wish: Wish::Command(open) };
    let denied = scene.asked(1, 1, wish);
    assert!(matches!(answers(&denied)[..], [(1, 1, Reply::Denied { .. })]), "{denied:?}");
    for question in [
        Question::KeepAlive { sessions: vec![session(2)] },
        Question::Died { process: process(2), observed: WallTime::default() },
    ] {
        let denied = scene.asked(1, 1, question);
        assert!(matches!(answers(&denied)[..], [(1, 1, Reply::Denied { .. })]), "{denied:?}");
    }
}

#[test]
fn a_client_that_left_is_forgotten() {
    let mut scene = Scene::new();
    scene.renews(1);
    scene.keep_alive(Vec::new());
    let posted = scene.asked(
        1,
        1,
        Question::Subscribe { elections: vec![demo()], prefix: None, contends: false },
    );
    scene.relay.client_down(1);
    assert_eq!(scene.heard(push(9)), []);
    assert_eq!(answers(&scene.answered(number_of(&posted), Reply::Subscribed)), []);
}
