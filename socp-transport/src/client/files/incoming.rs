//! A file that comes: its blocks are kept sealed on disk until it is wanted, then opened on the pool, several at
//! once, and written in their order.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use futures_util::FutureExt;
use socp_core::client::{Expected, FailureKind, FileEvent};
use socp_core::crypto::aws_lc::PrivateKey;
use socp_core::crypto::{CryptoError, Opener, RSA_BYTES};
use socp_core::wire::Binary;
use tokio::sync::mpsc;

use super::Report;
use super::folder::{Part, read_at, write_at};
use crate::driver::Ticket;
use crate::pool::{Job, Lane, Pool, PoolError};

/// Blocks that are opened at once or wait for it, per thread of the pool: so that none of them idles.
const AHEAD: usize = 4;

/// Blocks that are written to disk at a time.
const BATCH: usize = 256;

/// What is to be done with the file. Dropping the queue ends it, and removes what there is.
pub(super) enum Order {
    /// Keep a block. The ticket ends when it is on disk.
    Keep(Binary, Ticket),
    /// Open what is kept, and what comes.
    Open,
    /// No further block comes.
    End,
}

/// What the task needs.
pub(super) struct Context {
    pub(super) folder: PathBuf,
    pub(super) pool: Arc<Pool>,
    pub(super) key: Arc<PrivateKey>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}: {why}", folder.display())]
    Folder { folder: PathBuf, why: io::Error },
    #[error("a part of it {0}")]
    Sealed(#[from] CryptoError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("it is longer than announced")]
    TooLong,
    #[error("a part of it is missing")]
    TooShort,
    #[error("it is not what was announced: its hash is another one")]
    OtherHash,
    /// Nobody wants it any more.
    #[error("dropped")]
    Dropped,
}

impl Failure {
    /// What its sender may know of it.
    fn kind(&self) -> FailureKind {
        match self {
            Self::Folder { why, .. } => match why.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    FailureKind::NoSpace
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    FailureKind::NotAllowed
                }
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FailureKind::NoFolder,
                _ => FailureKind::System,
            },
            Self::Sealed(_) => FailureKind::NotDecrypted,
            Self::TooLong | Self::TooShort | Self::OtherHash => FailureKind::OtherContent,
            Self::Pool(_) | Self::Dropped => FailureKind::System,
        }
    }
}

/// Runs until the file is saved, has failed or is dropped.
pub(super) async fn receive(expected: Expected, mut orders: mpsc::Receiver<Order>, context: Context) {
    let transfer = expected.transfer;
    let reports = context.reports.clone();
    let mut receiving = Receiving {
        expected,
        context,
        part: None,
        accepted: false,
        ended: false,
        kept: 0,
        taken: 0,
        jobs: VecDeque::new(),
        written: 0,
        hash: digest::Context::new(&SHA256),
    };
    let event = match receiving.run(&mut orders).await {
        Ok(path) => FileEvent::Saved { transfer, path },
        Err(Failure::Dropped) => return receiving.discard().await,
        Err(failure) => {
            FileEvent::ReceiveFailed { transfer, kind: failure.kind(), why: failure.to_string().into() }
        }
    };
    receiving.discard().await;
    // Without the driver there is nobody to tell.
    let _ = reports.send(Report::Event(event)).await;
    // What still comes is counted as done.
    while orders.recv().await.is_some() {}
}

struct Receiving {
    expected: Expected,
    context: Context,
    /// Sealed blocks stand in the file from its start, and what they hold is written over them: 446 bytes at most
    /// of every 512, so the one never overtakes the other.
    part: Option<Part>,
    accepted: bool,
    ended: bool,
    /// Blocks on disk.
    kept: u64,
    /// Blocks that were read from there to be opened.
    taken: u64,
    /// Those, in their order.
    jobs: VecDeque<Job<Result<Vec<u8>, CryptoError>>>,
    /// Bytes of the file itself.
    written: u64,
    hash: digest::Context,
}

impl Receiving {
    async fn run(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<PathBuf, Failure> {
        loop {
            self.fill().await?;
            if self.accepted && self.written == self.expected.size && self.jobs.is_empty() {
                return self.finish().await;
            }
            if self.accepted && self.ended && self.taken == self.kept && self.jobs.is_empty() {
                return Err(Failure::TooShort);
            }
            tokio::select! {
                order = orders.recv() => self.take(order.ok_or(Failure::Dropped)?, orders).await?,
                opened = next(&mut self.jobs) => self.append(opened).await?,
            }
        }
    }

    /// Takes what was ordered, and whatever follows at once.
    async fn take(&mut self, first: Order, orders: &mut mpsc::Receiver<Order>) -> Result<(), Failure> {
        let (mut blocks, mut tickets) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Keep(block, ticket) => {
                    blocks.extend_from_slice(block.bytes());
                    tickets.push(ticket);
                }
                Order::Open => self.accepted = true,
                Order::End => self.ended = true,
            }
            next = (tickets.len() < BATCH).then(|| orders.try_recv().ok()).flatten();
        }
        if !tickets.is_empty() {
            let (at, count) = (self.kept * RSA_BYTES as u64, tickets.len() as u64);
            self.with_file(move |file| write_at(file, at, &blocks)).await?;
            self.kept += count;
        }
        Ok(())
    }

    /// Keeps the pool busy with blocks, once the file is wanted.
    async fn fill(&mut self) -> Result<(), Failure> {
        let ahead = AHEAD * self.context.pool.threads();
        let room = ahead.saturating_sub(self.jobs.len()) as u64;
        let count = room.min(self.kept - self.taken);
        // By halves, so that reading is worth its while.
        if !self.accepted || count == 0 || (room < ahead as u64 / 2 && !self.jobs.is_empty()) {
            return Ok(());
        }
        let at = self.taken * RSA_BYTES as u64;
        let bytes = usize::try_from(count).unwrap_or_default() * RSA_BYTES;
        let blocks = self.with_file(move |file| read_at(file, at, bytes)).await?;
        self.taken += count;
        for block in blocks.chunks(RSA_BYTES) {
            let (key, block) = (self.context.key.clone(), block.to_vec());
            self.jobs.push_back(self.context.pool.spawn(Lane::Bulk, move || key.open(&block)).await?);
        }
        Ok(())
    }

    /// Writes what was in a block, and in those behind it that are open as well.
    async fn append(
        &mut self,
        first: Result<Result<Vec<u8>, CryptoError>, PoolError>,
    ) -> Result<(), Failure> {
        let mut plaintext = first??;
        let mut chunks = 1;
        while let Some(opened) = self.jobs.front_mut().and_then(|job| job.now_or_never()) {
            self.jobs.pop_front();
            plaintext.extend(opened??);
            chunks += 1;
        }
        let (at, bytes) = (self.written, plaintext.len() as u64);
        if at + bytes > self.expected.size {
            return Err(Failure::TooLong);
        }
        self.hash.update(&plaintext);
        self.with_file(move |file| write_at(file, at, &plaintext)).await?;
        self.written += bytes;
        let event = FileEvent::Opened { transfer: self.expected.transfer, chunks, bytes };
        self.context.reports.send(Report::Event(event)).await.map_err(|_| Failure::Dropped)
    }

    /// All bytes are there.
    async fn finish(&mut self) -> Result<PathBuf, Failure> {
        if self.hash.clone().finish().as_ref() != self.expected.sha256 {
            return Err(Failure::OtherHash);
        }
        // An empty file has no blocks, and no part so far.
        self.with_file(|_| Ok(())).await?;
        let part = self.part.take().ok_or(Failure::Dropped)?;
        let (name, size) = (self.expected.name.clone(), self.expected.size);
        self.blocking(move || part.publish(&name, size)).await
    }

    /// Does something with the file, off the runtime's workers.
    async fn with_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.part.is_none() {
            let folder = self.context.folder.clone();
            self.part = Some(self.blocking(move || Part::create(&folder)).await?);
        }
        let file = self.part.as_ref().ok_or(Failure::Dropped)?.file();
        self.blocking(move || work(&file)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::from).flatten();
        done.map_err(|why| Failure::Folder { folder: self.context.folder.clone(), why })
    }

    /// Removes what there is.
    async fn discard(&mut self) {
        self.jobs.clear();
        if let Some(part) = self.part.take() {
            let _ = tokio::task::spawn_blocking(move || drop(part)).await;
        }
    }
}

/// What was in the first of the blocks, once it is open.
async fn next(
    jobs: &mut VecDeque<Job<Result<Vec<u8>, CryptoError>>>,
) -> Result<Result<Vec<u8>, CryptoError>, PoolError> {
    let Some(job) = jobs.front_mut() else { return std::future::pending().await };
    let opened = job.await;
    jobs.pop_front();
    opened
}
