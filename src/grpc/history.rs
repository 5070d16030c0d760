//! `HistoryService`: the node's own recording, streamed as its files hold it.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::spawn_blocking,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{cluster::Cluster, errors::status};
use crate::{
    core::names::NodeId,
    history::{
        Recorder,
        segments::{self, Segment},
    },
    proto::v1::{self, history_service_server::HistoryService},
};

/// How many exports at once.
const EXPORTS: usize = 2;
/// Bytes of one message, and how many messages may wait for the client: it is the one who sets the pace.
const CHUNK: usize = 64 * 1024;
const WAITING: usize = 4;
/// How long a client may leave the next message waiting before it is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

type Message = Result<v1::ExportHistoryResponse, Status>;
type Exporting = Pin<Box<dyn Stream<Item = Message> + Send>>;

/// The server.
#[derive(Clone)]
pub struct Histories {
    cluster: Arc<dyn Cluster>,
    shutdown: CancellationToken,
    exports: Arc<Semaphore>,
}

impl Histories {
    /// Exports what `cluster` records; streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, shutdown: CancellationToken) -> Self {
        Self { cluster, shutdown, exports: Arc::new(Semaphore::new(EXPORTS)) }
    }
}

#[tonic::async_trait]
impl HistoryService for Histories {
    type ExportHistoryStream = Exporting;

    async fn export_history(&self, request: Request<v1::ExportHistoryRequest>) -> Result<Response<Exporting>, Status> {
        let v1::ExportHistoryRequest { from_wall_ms, to_wall_ms } = request.into_inner();
        let to = if to_wall_ms == 0 { u64::MAX } else { to_wall_ms };
        let Some(recorder) = self.cluster.history() else {
            let message = "this node records no history: its configuration says enabled = false, or the disk refused";
            return Err(status(Code::FailedPrecondition, "HISTORY_OFF", message, []));
        };
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{EXPORTS} exports are under way on this node already");
            status(Code::ResourceExhausted, "TOO_MANY_EXPORTS", message, [])
        })?;
        let segments = find(recorder, from_wall_ms, to).await.map_err(|error| unreadable(&error))?;
        let mut node = 0;
        self.cluster.with_state(&mut |_, read| node = read.answered_by);
        let (messages, export) = mpsc::channel(WAITING);
        tokio::spawn(send(segments, node, messages, self.shutdown.clone(), permit));
        Ok(Response::new(Box::pin(ReceiverStream::new(export))))
    }
}

fn unreadable(error: &io::Error) -> Status {
    status(Code::Internal, "HISTORY_UNREADABLE", format!("the history cannot be read: {error}"), [])
}

async fn find(recorder: Arc<Recorder>, from: u64, to: u64) -> io::Result<Vec<Segment>> {
    let find = move || {
        recorder.flush();
        segments::overlapping(recorder.dir(), from, to)
    };
    spawn_blocking(find).await.map_err(io::Error::other)?
}

async fn send(
    segments: Vec<Segment>,
    node: NodeId,
    to: mpsc::Sender<Message>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let total_bytes = segments.iter().map(|segment| segment.bytes).sum();
    let message = |data| Ok(v1::ExportHistoryResponse { data, total_bytes, answered_by: node });
    // An empty history has an answer too.
    if segments.is_empty() {
        let _ = to.send(message(bytes::Bytes::new())).await;
    }
    for segment in segments {
        let mut left = segment.bytes;
        let mut file = None;
        while left > 0 {
            let read = read(segment.path.clone(), file.take(), left).await;
            let next = match read {
                // It became too old meanwhile; the next one begins with a state.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => Err(unreadable(&error)),
                Ok((_, data)) if data.is_empty() => break,
                Ok((read, data)) => {
                    left -= data.len() as u64;
                    file = Some(read);
                    message(data.into())
                }
            };
            let failed = next.is_err();
            let sent = tokio::select! {
                sent = timeout(PATIENCE, to.send(next)) => matches!(sent, Ok(Ok(()))),
                () = shutdown.cancelled() => {
                    let _ = to.try_send(Err(status(Code::Unavailable, "SHUTTING_DOWN", "the node is shutting down", [])));
                    return;
                }
            };
            if failed || !sent {
                return;
            }
        }
    }
}

/// The next bytes of a file, at most `left`.
async fn read(path: PathBuf, file: Option<File>, left: u64) -> io::Result<(File, Vec<u8>)> {
    let read = move || {
        let mut file = match file {
            Some(file) => file,
            None => File::open(path)?,
        };
        let mut data = Vec::with_capacity(CHUNK);
        (&mut file).take(left.min(CHUNK as u64)).read_to_end(&mut data)?;
        Ok((file, data))
    };
    spawn_blocking(read).await.map_err(io::Error::other)?
}
