//! Everything that must be there before the first decision.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
};

use rustix::process::{Pid, PidfdFlags, getpgid, getpid, pidfd_open, set_child_subreaper};
use tenure_core::CandidateId;
use tenure_quorum::clock;

use super::{
    super::{
        cgroup::Group,
        contest::{self, Bell, Lease, News, Voice},
        deadman::{Deadman, Fuse},
        front,
        health::Health,
        http::{self, Status},
        jobs::Jobs,
        link::{Heard, Link, Message},
        machine::Machine,
        report::Report,
        settings::Settings,
        signals::Signals,
        vigil::{Clocks, Renewals},
    },
    Warden,
};
use crate::{
    command::campaign::random_id,
    error::{Exit, Failure, Outcome},
    output::Output,
};

pub(super) fn begin(settings: Settings, output: Output) -> Outcome<Warden> {
    let failed = |what: &str, error: io::Error| {
        Failure::io(what, &error, "look at the limits of the user, then try again")
    };
    // Other threads inherit what is done here, so they come later.
    let signals = Signals::take().map_err(|error| failed("cannot take signals", error))?;
    set_child_subreaper(Some(getpid()))
        .map_err(|error| failed("cannot adopt orphans", error.into()))?;
    let _ = rustix::thread::set_name(c"tenure-warden");
    let link = Link::from_stdin().map_err(|error| failed("cannot reach the front", error))?;
    let parent = front::parent();
    let front = parent.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let (Some(parent), Some(front), Heard::Message(Message::Hello { terminal }, Some(stdin))) =
        (parent.filter(|_| front::parent().is_some()), front, link.hear())
    else {
        return Err(Failure::new(
            Exit::Tool,
            "the process that was started is gone",
            "this one works for it and found it ended",
            "start it again",
        ));
    };
    let number = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
    let front_number = number(parent);
    let id = candidate_id(&settings, front_number)?;
    let group = settings.options.child.cgroup.then(Group::create).transpose()?;
    let cgroup = group.as_ref().map(|group| group.path().to_owned());
    let lease = Lease::default();
    let deadman =
        Deadman::start(lease.clone(), settings.budget, cgroup.clone(), settings.realtime)?;
    let fuse = Fuse::new().map_err(|error| failed("cannot make a timer", error))?;
    let election = settings.election.clone();
    let outside = &settings.options.outside;
    let report = Report::start(election.clone(), id.clone(), front_number, outside, output)?;
    let status = Arc::new(Mutex::new(Status::new(election.clone(), id.clone(), lease.clone())));
    let listener = outside.listen.as_ref().map(http::bind).transpose()?;
    let bell = Bell::new().map_err(|error| failed("cannot make an event", error))?;
    let (tell, news) = mpsc::channel();
    let (orders, ordered) = tokio::sync::mpsc::unbounded_channel();
    let voice = Voice { news: tell, bell: bell.clone() };
    // It leads its group only if a shell with job control has started it.
    let front_group = getpgid(Some(parent)).map_or(front_number, number);
    let jobs = Jobs::new(settings.clone(), id.clone(), stdin, terminal, front_group, cgroup);
    let side = (settings.clone(), id.clone(), lease.clone(), status.clone());
    let talk = move || {
        let (settings, id, lease, status) = side;
        let outcome = crate::command::block_on(async {
            // Also while it connects: whoever asks then is told that it is not ready.
            if let Some(listener) = listener {
                http::start(listener, status);
            }
            contest::serve(settings, id, lease, voice.clone(), ordered).await;
            Ok(())
        });
        if let Err(failure) = outcome {
            let _ = voice.news.send(News::Failed(failure));
            voice.bell.ring();
        }
    };
    std::thread::Builder::new()
        .name("contest".into())
        .spawn(talk)
        .map_err(|error| failed("cannot start a thread", error))?;
    let machine = Machine::new(settings.rules(terminal), clock::moment());
    let health = Health::new(&settings);
    Ok(Warden {
        settings,
        id,
        machine,
        jobs,
        health,
        report,
        lease,
        link,
        signals,
        front: Some(front),
        bell,
        news,
        orders,
        deadman,
        fuse,
        status,
        renewals: Renewals::default(),
        clocks: Clocks::default(),
        armed: None,
        lock_is_shared: false,
        election,
        token: None,
        previous: None,
        loss: None,
        connected: false,
        contend_when_connected: false,
        failure: None,
        heard_already: false,
        exit: None,
        _group: group,
    })
}

pub(crate) fn candidate_id(settings: &Settings, front: u32) -> Outcome<CandidateId> {
    if let Some(id) = &settings.options.who.id {
        return Ok(id.clone());
    }
    let pod = std::env::var("POD_NAME").ok().and_then(|name| CandidateId::new(name).ok());
    pod.map_or_else(|| random_id(front), Ok)
}
