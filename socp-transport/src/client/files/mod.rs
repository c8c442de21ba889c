//! Files on the driver's side: reading, writing, sealing and opening. What to do, the machine has decided.

mod folder;
mod incoming;
mod outgoing;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use socp_core::client::{ChunkRun, Event, Expected, FileAction, FileEvent, FileInfo, SourceId, TransferId};
use socp_core::crypto::CryptoError;
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::wire::{Binary, WireText};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::driver::{Driver, Written, next_written};
use crate::driver::OwnWork;
use crate::pool::Pool;
use crate::ws::{Entry, Gate, Item};
use incoming::Order;
use outgoing::Source;

/// Blocks that wait to be written to disk before nothing more is read from the link: half a megabyte.
const MAX_KEPT: usize = 1024;

/// Reports that wait for the driver.
const REPORTS: usize = 64;

/// Files that are being sent and received.
pub(super) struct Files {
    /// Where files of others go; without it none is taken.
    folder: Option<PathBuf>,
    pool: Arc<Pool>,
    key: Arc<PrivateKey>,
    tasks: TaskTracker,
    /// Blocks that wait to be written to disk.
    keeping: OwnWork,
    sources: BTreeMap<SourceId, Source>,
    incoming: BTreeMap<TransferId, mpsc::Sender<Order>>,
    /// Runs that are being sealed, in the order in which they are written.
    sealing: VecDeque<Sealing>,
    /// Runs in the link's queue, in its order.
    written: VecDeque<Written<FileEvent>>,
    reports: mpsc::Sender<Report>,
    reported: mpsc::Receiver<Report>,
}

/// What tasks report.
enum Report {
    /// A file was read through, or cannot be.
    Read(SourceId, Result<(File, FileInfo), String>),
    /// Something that the machine alone needs to know.
    Event(FileEvent),
}

struct Sealing {
    transfer: TransferId,
    texts: oneshot::Receiver<Result<Vec<WireText>, String>>,
}

/// What the driver is to hear of.
pub(super) enum Heard {
    /// To be told to the machine.
    Event(FileEvent),
    /// To be written to the link.
    Sealed(TransferId, Vec<WireText>),
}

impl Files {
    pub(super) fn new(
        folder: Option<PathBuf>,
        pool: Arc<Pool>,
        key: Arc<PrivateKey>,
        tasks: TaskTracker,
    ) -> Self {
        let (reports, reported) = mpsc::channel(REPORTS);
        Self {
            folder,
            pool,
            key,
            tasks,
            keeping: OwnWork::new(MAX_KEPT),
            sources: BTreeMap::new(),
            incoming: BTreeMap::new(),
            sealing: VecDeque::new(),
            written: VecDeque::new(),
            reports,
            reported,
        }
    }

    /// Blocks that wait to be written to disk.
    pub(super) fn keeping(&self) -> &OwnWork {
        &self.keeping
    }

    /// The next that the driver is to hear of. Cancel safe.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            tokio::select! {
                biased;
                Some(report) = self.reported.recv() => return Heard::Event(self.on_report(report)),
                event = next_written(&mut self.written) => if let Some(event) = event {
                    return Heard::Event(event);
                },
                sealed = next_sealed(&mut self.sealing) => return sealed,
            }
        }
    }

    fn on_report(&mut self, report: Report) -> FileEvent {
        match report {
            Report::Read(source, Ok((file, info))) => {
                self.sources.insert(source, Arc::new(Mutex::new(file)));
                FileEvent::Read { source, result: Ok(info) }
            }
            Report::Read(source, Err(why)) => FileEvent::Read { source, result: Err(why.into()) },
            Report::Event(event) => {
                if let FileEvent::Saved { transfer, .. } | FileEvent::ReceiveFailed { transfer, .. } = &event
                {
                    self.incoming.remove(transfer);
                }
                event
            }
        }
    }

    fn read(&self, source: SourceId, path: PathBuf, max_bytes: u64) {
        let reports = self.reports.clone();
        self.tasks.spawn(async move {
            let read = move || outgoing::read_through(Path::new(&path), max_bytes);
            let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string()).flatten();
            // Without the driver nobody needs it.
            let _ = reports.send(Report::Read(source, read)).await;
        });
    }

    fn seal(&mut self, run: ChunkRun) {
        let (transfer, (sealed, texts)) = (run.transfer(), oneshot::channel());
        let (file, pool) = (self.sources.get(&run.source()).cloned(), self.pool.clone());
        self.sealing.push_back(Sealing { transfer, texts });
        self.tasks.spawn(async move {
            let outcome = match file {
                Some(file) => outgoing::seal(run, file, pool).await,
                None => Err("the file is closed".to_owned()),
            };
            // The link may be gone, and the transfer with it.
            let _ = sealed.send(outcome);
        });
    }

    fn expect(&mut self, expected: Expected) {
        let Some(folder) = self.folder.clone() else { return };
        let (orders, queue) = mpsc::channel(2 * MAX_KEPT);
        self.incoming.insert(expected.transfer, orders);
        let context = incoming::Context {
            folder,
            pool: self.pool.clone(),
            key: self.key.clone(),
            reports: self.reports.clone(),
        };
        self.tasks.spawn(incoming::receive(expected, queue, context));
    }

    fn keep(&self, transfer: TransferId, block: Binary) {
        self.order(transfer, Order::Keep(block, self.keeping.begin()));
    }

    fn order(&self, transfer: TransferId, order: Order) {
        if let Some(orders) = self.incoming.get(&transfer) {
            // There is more room in it than blocks may wait, and a task that has ended has told why.
            let _ = orders.try_send(order);
        }
    }

    /// The link is gone, and with it what waited to be written.
    pub(super) fn on_link_gone(&mut self) {
        self.sealing.clear();
        self.written.clear();
    }

    /// Nothing more is sent or received: what is not complete is removed.
    pub(super) fn close(&mut self) {
        self.on_link_gone();
        self.sources.clear();
        self.incoming.clear();
        self.reported.close();
    }
}

impl Driver {
    pub(super) fn on_file_action(&mut self, action: FileAction, gate: Option<Gate>) {
        match action {
            FileAction::Read { source, path, max_bytes } => self.files.read(source, path, max_bytes),
            FileAction::Offer(offer) => {
                let transfer = offer.transfer();
                let key = self.key.clone();
                let failed = move |error: CryptoError| {
                    Event::File(FileEvent::SendFailed { transfer, why: error.to_string().into() })
                };
                let written = Event::File(FileEvent::OfferWritten(transfer));
                self.seal(written, failed, move || offer.seal(&*key), gate);
            }
            FileAction::Seal(run) => self.files.seal(run),
            FileAction::Close(source) => {
                self.files.sources.remove(&source);
            }
            FileAction::Expect(expected) => self.files.expect(expected),
            FileAction::Keep { transfer, ciphertext } => self.files.keep(transfer, ciphertext),
            FileAction::Open(transfer) => self.files.order(transfer, Order::Open),
            FileAction::End(transfer) => self.files.order(transfer, Order::End),
            FileAction::Drop(transfer) => {
                self.files.incoming.remove(&transfer);
            }
        }
    }

    pub(super) fn on_file(&mut self, heard: Heard) {
        match heard {
            Heard::Event(event) => self.handle(Event::File(event)),
            Heard::Sealed(transfer, texts) => self.write_chunks(transfer, texts),
        }
    }

    /// Queues the frames of a run, behind all else; the last one tells when they are written.
    fn write_chunks(&mut self, transfer: TransferId, texts: Vec<WireText>) {
        let Some(link) = &mut self.link else { return };
        let chunks = texts.len() as u64;
        let (written, was_written) = oneshot::channel();
        let mut written = Some(written);
        let last = texts.len().saturating_sub(1);
        for (at, text) in texts.into_iter().enumerate() {
            let written = written.take_if(|_| at == last);
            // The machine has fewer under way than there is room.
            if link.outbox.push_bulk(Entry { item: Item::Text(text), gate: None, written }).is_err() {
                let why = "the link's queue is full".into();
                return self.handle(Event::File(FileEvent::SendFailed { transfer, why }));
            }
        }
        self.files.written.push_back((FileEvent::Written { transfer, chunks }, was_written));
    }
}

/// Removes what a killed process left in the folder.
pub(super) async fn sweep(folder: Option<PathBuf>) {
    if let Some(folder) = folder {
        // Whatever comes of it, new files can be received.
        let _ = tokio::task::spawn_blocking(move || folder::sweep(&folder)).await;
    }
}

/// The run at the front, once it is sealed.
async fn next_sealed(sealing: &mut VecDeque<Sealing>) -> Heard {
    let Some(front) = sealing.front_mut() else { return std::future::pending().await };
    let outcome = (&mut front.texts).await;
    let transfer = front.transfer;
    sealing.pop_front();
    match outcome.unwrap_or_else(|_| Err("sealing was given up".to_owned())) {
        Ok(texts) => Heard::Sealed(transfer, texts),
        Err(why) => Heard::Event(FileEvent::SendFailed { transfer, why: why.into() }),
    }
}
