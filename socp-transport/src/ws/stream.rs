//! What a link runs over.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// Gathered before a write: frames of a fan-out leave several at once.
const GATHERED: usize = 16 * 1024;

/// Read at once from a socket.
const READ: usize = 8 * 1024;

/// A connection that reads ahead, and gathers what is written until it is flushed. tungstenite could do both, but it
/// keeps its buffers for good; here a silent link has none.
#[derive(Debug)]
pub(crate) struct Stream {
    bytes: Bytes,
    /// Read ahead, the first so many of it taken already.
    ahead: Vec<u8>,
    taken: usize,
    /// Written to us and by us to nobody yet; no room is kept for it while there is nothing.
    gathered: Vec<u8>,
}

/// Bytes, plainly or over TLS.
#[derive(Debug)]
enum Bytes {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP. Boxed, as it is a kilobyte, which the other kind need not carry around.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::over(Bytes::Plain(stream))
    }

    pub(super) fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::over(Bytes::Tls(Box::new(stream.into())))
    }

    fn over(bytes: Bytes) -> Self {
        Self { bytes, ahead: Vec::new(), taken: 0, gathered: Vec::new() }
    }

    /// Writes what was gathered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            match ready!(Pin::new(&mut self.bytes).poll_write(cx, &self.gathered))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.gathered.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.ahead.is_empty() {
            if buf.remaining() >= READ {
                return Pin::new(&mut stream.bytes).poll_read(cx, buf);
            }
            let mut room = [MaybeUninit::uninit(); READ];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut stream.bytes).poll_read(cx, &mut read))?;
            let (now, later) = read.filled().split_at(read.filled().len().min(buf.remaining()));
            buf.put_slice(now);
            stream.ahead.extend_from_slice(later);
            return Poll::Ready(Ok(()));
        }
        let left = &stream.ahead[stream.taken..];
        let now = &left[..left.len().min(buf.remaining())];
        buf.put_slice(now);
        stream.taken += now.len();
        if stream.taken == stream.ahead.len() {
            (stream.ahead, stream.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if stream.gathered.len() + bytes.len() > GATHERED {
            ready!(stream.poll_drain(cx))?;
        }
        if bytes.len() > GATHERED {
            return Pin::new(&mut stream.bytes).poll_write(cx, bytes);
        }
        if stream.gathered.capacity() == 0 {
            stream.gathered.reserve_exact(GATHERED);
        }
        stream.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_drain(cx))?;
        stream.gathered = Vec::new();
        Pin::new(&mut stream.bytes).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_drain(cx))?;
        Pin::new(&mut stream.bytes).poll_shutdown(cx)
    }
}

impl AsyncRead for Bytes {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Ends our half and throws away what still comes, `most` bytes at most: closing at once would reset the
/// connection, and what we wrote last with it.
pub(super) async fn half_close(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    most: usize,
) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bin = vec![0; most.min(16 * 1024)];
    let mut left = most;
    while left > 0 {
        match stream.read(&mut bin).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
