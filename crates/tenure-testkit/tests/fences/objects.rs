//! The fence of objects, on a server that speaks as S3 does.

use std::{io, path::Path, sync::Once};

use tenure::{
    Token,
    fence::{
        ObjectGate, ObjectStore,
        object::{Condition, NotWritten, Object, Sealed, Written},
    },
};
use tenure_testkit::servers::{Bucket, Objects};

use crate::{database, said, story, story_of};

fn bucket(dir: &Path) -> (Objects, Bucket) {
    let objects = Objects::start(dir).unwrap_or_else(|error| panic!("{error}"));
    let bucket = objects.bucket("jobs").unwrap_or_else(|error| panic!("{error}"));
    (objects, bucket)
}

fn content(bucket: &Bucket) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let object = runtime.block_on(bucket.read("owner")).expect("an answer").expect("an object");
    let content = Sealed::parse(&object.body).map_or(&object.body[..], |sealed| sealed.content);
    String::from_utf8_lossy(content).into_owned()
}

#[test]
fn an_object_refuses_whoever_was_paused() {
    let dir = tempfile::tempdir().expect("a directory");
    let _database = database(dir.path());
    let (_objects, bucket) = bucket(dir.path());
    let (place, object) = (bucket.place(), env!("CARGO_BIN_EXE_testkit-object"));
    for guarded in [true, false] {
        let (second, first) = match guarded {
            // It has read, and checked, and is paused before it writes.
            true => story_of(dir.path(), |who| format!("exec {object} {place} owner $TOKEN {who}")),
            false => story(dir.path(), |who| {
                let (port, length) = (place.split('/').next().unwrap_or_default(), who.len());
                format!(
                    "bash -c \"exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'PUT /jobs/owner \
                     HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n{}\\r\\nConnection: close\\r\\n\
                     Content-Length: {length}\\r\\n\\r\\n{who}' >&3; cat <&3\"",
                    Bucket::ANYBODY
                )
            }),
        };
        assert!(second.status.success(), "{}", said(&second));
        match guarded {
            true => {
                assert!(!first.status.success() && said(&first).contains("stale"), "{first:?}");
                assert_eq!(content(&bucket), "new");
            }
            false => {
                assert!(first.status.success(), "{}", said(&first));
                assert_eq!(content(&bucket), "old", "nothing was destroyed?");
            }
        }
    }
}

/// The server is what the fence relies on: it compares and writes in one step.
#[tokio::test]
async fn what_the_fence_asks_of_a_store_is_what_the_store_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_objects, bucket) = bucket(dir.path());
    let write = async |body: &[u8], condition: Condition| {
        bucket.write("k", body.to_vec(), condition).await.expect("an answer")
    };
    assert_eq!(bucket.read("k").await.expect("an answer"), None);
    assert_eq!(write(b"a", Condition::Version(String::from("\"x\""))).await, Written::Conflict);
    assert_eq!(write(b"a", Condition::Absent).await, Written::Done);
    assert_eq!(write(b"b", Condition::Absent).await, Written::Conflict);
    let first = bucket.read("k").await.expect("an answer").expect("an object");
    assert_eq!(write(b"b", Condition::Version(first.version.clone())).await, Written::Done);
    assert_eq!(write(b"c", Condition::Version(first.version)).await, Written::Conflict);
    assert_eq!(bucket.read("k").await.expect("an answer").expect("an object").body, b"b");
}

#[tokio::test]
async fn a_claim_shuts_out_who_has_read_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_objects, bucket) = bucket(dir.path());
    let gate = ObjectGate::new(bucket.clone());
    let (old, new) = (Token::new(41), Token::new(42));
    gate.put("manifest", old, b"one").await.expect("a write of the leader");
    assert_eq!(gate.claim("manifest", new).await.expect("a claim"), b"one");
    // Nothing but the token has changed, and the former leader is refused.
    for refused in
        [gate.put("manifest", old, b"late").await, gate.claim("manifest", old).await.map(drop)]
    {
        assert!(matches!(refused, Err(NotWritten::Fenced(_))), "{refused:?}");
    }
    bucket.overwrite("other", b"by hand").expect("a write");
    let foreign: Result<(), NotWritten<io::Error>> = gate.put("other", new, b"x").await;
    assert!(matches!(foreign, Err(NotWritten::Foreign(_))), "{foreign:?}");
}

/// A store in which another writer of the same leader is faster once.
struct Beaten(Bucket, Once);

impl ObjectStore for Beaten {
    type Error = io::Error;

    async fn read(&self, key: &str) -> io::Result<Option<Object>> {
        self.0.read(key).await
    }

    async fn write(&self, key: &str, body: Vec<u8>, condition: Condition) -> io::Result<Written> {
        self.1.call_once(|| {
            let sealed = Sealed { token: Token::new(1), write: "other", content: b"+" };
            self.0.overwrite(key, &sealed.to_bytes()).expect("a write");
        });
        self.0.write(key, body, condition).await
    }
}

#[tokio::test]
async fn changes_of_one_leader_do_not_get_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_objects, bucket) = bucket(dir.path());
    let gate = ObjectGate::new(Beaten(bucket, Once::new()));
    for expected in [&b"++"[..], b"+++"] {
        let more = |content: &[u8]| [content, b"+"].concat();
        let changed = gate.update("owner", Token::new(1), more).await.expect("a change");
        assert_eq!(changed, expected);
    }
}

/// What `docs/fencing.md` gives to users of Python, as it stands there, beside the library.
#[tokio::test]
async fn the_guard_in_the_documentation_and_the_librarys_are_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_objects, bucket) = bucket(dir.path());
    let page = include_str!("../../../../docs/fencing.md");
    let block = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    let guard = block.expect("a block of Python");
    let run = |token: u64, edit: &str| {
        let place = bucket.place();
        let port = place.split('/').next().unwrap_or_default();
        let script = format!(
            "{guard}\nimport boto3\ns3 = boto3.client('s3', \
             endpoint_url='http://127.0.0.1:{port}', region_name='us-east-1', \
             aws_access_key_id='a', aws_secret_access_key='b')\n\
             print(fenced_update(s3, 'jobs', 'owner', {token}, lambda content: {edit}))\n"
        );
        said(&tenure_testkit::servers::python(&script).expect("python3"))
    };
    assert_eq!(run(1, "b'one'"), "b'one'\n");
    let gate = ObjectGate::new(bucket.clone());
    assert_eq!(gate.claim("owner", Token::new(2)).await.expect("a claim"), b"one");
    assert!(run(1, "b'late'").contains("Fenced: token 1 is stale"), "{}", run(1, "b'late'"));
    assert_eq!(run(3, "content + b' two'"), "b'one two'\n");
    let error = gate.put("owner", Token::new(2), b"late").await.expect_err("a stale write");
    assert!(error.to_string().contains("3 was presented since"), "{error}");
}
