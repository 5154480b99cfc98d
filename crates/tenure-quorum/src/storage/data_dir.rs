//! The data directory: who may use it, and whose memory it is.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};
use tenure_core::{ClusterId, NodeId, NodeName};

use super::{
    SEGMENT_BYTES,
    disk::{Directory, Disk, replace},
    error::StorageError,
    frame::{self, Found},
    home::{Home, number_of, numbered},
    snapshot::SNAPSHOT,
    wal::{LOG, Wal},
};

/// Name of the file that says whose directory it is.
pub(super) const IDENTITY: &str = "identity.json";
const LOCK: &str = "lock";
/// Raised when an older program could misread what a newer one wrote.
const FORMAT: u64 = 1;

/// Whose memory a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number in it.
    pub node: NodeId,
    /// The node's name.
    pub name: NodeName,
    /// Drawn at random when the directory was made. Another one under the same node id means
    /// that the node forgot what it promised, and must not vote.
    pub directory: u64,
}

/// What the operator says about a directory; what is `None` is not checked.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The cluster the node is to be in.
    pub cluster: Option<ClusterId>,
    /// The number the node is to have.
    pub node: Option<NodeId>,
    /// The name the node is to have.
    pub name: Option<NodeName>,
}

/// `identity.json`, made to be read by people: ids look as they do in messages. The checksum
/// is there because one flipped bit makes one node of another.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u64,
    cluster: String,
    node: NodeId,
    name: NodeName,
    directory: String,
    checksum: String,
}

impl IdentityFile {
    fn new(identity: &Identity) -> Self {
        let Identity { cluster, node, name, directory } = identity;
        let text = format!("{FORMAT} {cluster} {node} {name} {directory:016x}");
        Self {
            format: FORMAT,
            cluster: cluster.to_string(),
            node: *node,
            name: name.clone(),
            directory: format!("{directory:016x}"),
            checksum: format!("{:08x}", crc32fast::hash(text.as_bytes())),
        }
    }
}

/// The directory of one node, locked for this process until this value and every
/// [`super::Storage`] opened from it are dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    files: Directory,
    lock: Arc<File>,
    identity: Option<Identity>,
}

impl DataDir {
    /// Opens a directory and locks it; makes it, for its owner only, when it is not there.
    ///
    /// # Errors
    /// [`StorageError`] when another process uses it, when it is the memory of another node or
    /// cluster than expected, when a newer program wrote it, or when it cannot be used.
    pub fn open(
        path: impl AsRef<Path>,
        expected: Option<&Expectation>,
    ) -> Result<Self, StorageError> {
        let path = path.as_ref().to_owned();
        create_missing(&path)?;
        let failed = |action| {
            let path = path.clone();
            move |cause| StorageError::io(action, path, cause)
        };
        let files = File::options()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(&path)
            .map_err(failed("open"))?;
        let files = Directory::new(files);
        let lock = lock(&path, &files)?;
        let identity = read_identity(&files, &path)?;
        if let (Some(found), Some(expected)) = (&identity, expected) {
            check(&path, found, expected)?;
        }
        Ok(Self { path, files, lock: Arc::new(lock), identity })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose memory it is; `None` before [`DataDir::create_identity`].
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Makes the directory the memory of a node that has none yet: an empty log, then the
    /// identity. After a crash in between it can be called again. `directory` is a fresh
    /// random number: a node that joins has told it to the cluster already.
    ///
    /// # Errors
    /// [`StorageError`] when the directory already is somebody's memory, or cannot be written.
    pub fn create_identity(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        name: NodeName,
        directory: u64,
    ) -> Result<&Identity, StorageError> {
        self.adopt(Identity { cluster, node, name, directory }, |home| create(home, SEGMENT_BYTES))
    }

    /// Makes the directory, which is nobody's yet, the memory of a node.
    pub(super) fn adopt(
        &mut self,
        identity: Identity,
        create: impl FnOnce(&Home) -> Result<(), StorageError>,
    ) -> Result<&Identity, StorageError> {
        if let Some(Identity { name, .. }) = &self.identity {
            let (path, name) = (self.path.clone(), name.clone());
            return Err(StorageError::IdentityExists { path, name });
        }
        let disk = Arc::new(self.files.clone());
        create(&Home { disk, path: self.path.clone(), identity: identity.clone() })?;
        Ok(self.identity.insert(identity))
    }

    pub(super) fn home(&self) -> Result<Home, StorageError> {
        match &self.identity {
            None => Err(StorageError::NoIdentity { path: self.path.clone() }),
            Some(identity) => Ok(Home {
                disk: Arc::new(self.files.clone()),
                path: self.path.clone(),
                identity: identity.clone(),
            }),
        }
    }

    pub(super) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }
}

/// Makes a directory and its parents, each durable in the one above.
fn create_missing(path: &Path) -> Result<(), StorageError> {
    let failed = |action| move |cause| StorageError::io(action, path.to_owned(), cause);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(StorageError::NotADirectory { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StorageError::NotADirectory { path: path.to_owned() });
        }
        Err(error) => return Err(failed("look at")(error)),
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_missing(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        // Another node of this machine made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.map_err(failed("create"))?,
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("create"))
}

/// Takes the lock. The kernel releases it when the process ends, however it ends.
fn lock(path: &Path, files: &Directory) -> Result<File, StorageError> {
    let failed = |action| move |cause| StorageError::io(action, path.join(LOCK), cause);
    let file =
        files.open_with(LOCK, OFlags::RDWR | OFlags::CREATE).map_err(failed("create and open"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = io::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
            return Err(StorageError::Locked { path: path.to_owned(), pid });
        }
        Err(error) => return Err(failed("lock")(error.into())),
    }
    // Only for the message above, and a full disk must not prevent a start. The width is fixed
    // so that a shorter number leaves nothing of a longer one.
    let _ = file.write_all_at(format!("{:>10}\n", std::process::id()).as_bytes(), 0);
    Ok(file)
}

pub(super) fn read_identity(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Identity>, StorageError> {
    let bytes = match disk.read(IDENTITY) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read", path.join(IDENTITY), error)),
    };
    let unreadable =
        |reason| StorageError::IdentityUnreadable { path: path.join(IDENTITY), reason };
    let parse = |error: serde_json::Error| unreadable(error.to_string());
    // The format first: a newer file may have other fields.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(parse)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > FORMAT => {
            let path = path.to_owned();
            return Err(StorageError::NewerFormat { path, found, supported: FORMAT });
        }
        Some(_) => {}
        None => return Err(unreadable("it has no format number".to_owned())),
    }
    let file: IdentityFile = serde_json::from_value(value).map_err(parse)?;
    let hex = |text: &str| {
        u64::from_str_radix(text, 16)
            .map_err(|_| unreadable(format!("{text:?} is not a hexadecimal id")))
    };
    let identity = Identity {
        cluster: ClusterId::new(hex(&file.cluster)?),
        node: file.node,
        name: file.name,
        directory: hex(&file.directory)?,
    };
    if file.checksum != IdentityFile::new(&identity).checksum {
        return Err(unreadable("it does not match its checksum".to_owned()));
    }
    Ok(Some(identity))
}

/// Makes the log and then the identity, which is the sign that the log must be there.
pub(super) fn create(home: &Home, segment_bytes: u64) -> Result<(), StorageError> {
    if has_history(home)? {
        return Err(StorageError::IdentityMissing { path: home.path.clone() });
    }
    Wal::create(home, segment_bytes)?;
    write_identity(home)
}

/// From here on the directory is somebody's memory.
pub(super) fn write_identity(home: &Home) -> Result<(), StorageError> {
    write_json(home, IDENTITY, &IdentityFile::new(&home.identity))
}

/// Writes a file that people may read, as a whole or not at all.
pub(super) fn write_json(
    home: &Home,
    file: &str,
    content: &impl Serialize,
) -> Result<(), StorageError> {
    let mut bytes = serde_json::to_vec_pretty(content)
        .map_err(|error| StorageError::Impossible { reason: error.to_string() })?;
    bytes.push(b'\n');
    replace(&*home.disk, file, &bytes).map_err(home.failed("write", file))
}

/// Whether somebody worked here: more than the empty log that a crash while the directory was
/// made leaves behind.
pub(super) fn has_history(home: &Home) -> Result<bool, StorageError> {
    let names = home.list()?;
    if names.iter().any(|name| number_of(SNAPSHOT, name).is_some()) {
        return Ok(true);
    }
    let logs: Vec<u64> = names.iter().filter_map(|name| number_of(LOG, name)).collect();
    match logs[..] {
        [] => Ok(false),
        [1] => {
            let bytes = home.read(&numbered(LOG, 1))?;
            Ok(match frame::read(&bytes, 0) {
                Found::Batch { end, .. } => !matches!(frame::read(&bytes, end), Found::End),
                Found::End | Found::Torn(_) => false,
                Found::Damaged(_) => true,
            })
        }
        _ => Ok(true),
    }
}

fn check(path: &Path, found: &Identity, expected: &Expectation) -> Result<(), StorageError> {
    if let Some(cluster) = expected.cluster
        && cluster != found.cluster
    {
        let (path, found) = (path.to_owned(), found.cluster);
        return Err(StorageError::OtherCluster { path, found, expected: cluster });
    }
    let node = expected.node.unwrap_or(found.node);
    let name = expected.name.as_ref().unwrap_or(&found.name);
    if (node, name) != (found.node, &found.name) {
        return Err(StorageError::OtherNode {
            path: path.to_owned(),
            found: format!("{} (id {})", found.name, found.node),
            expected: format!("{name} (id {node})"),
        });
    }
    Ok(())
}
