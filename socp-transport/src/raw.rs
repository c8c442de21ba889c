//! WebSocket links with no machine on them: for tools that look at a server from outside and have to say and hear
//! what no machine of ours would.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use socp_core::wire::HostPort;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::scheme::Scheme;
use crate::tls::Roots;
use crate::ws::{self, Dialler, LinkLimits, Socket};

/// How raw links are dialled.
#[derive(Debug)]
pub struct RawDialler(Dialler);

/// There is no link.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RawError(Box<str>);

/// What comes on a raw link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawHeard {
    /// A text message.
    Text(String),
    /// A binary message, whatever is in it.
    Binary(Vec<u8>),
    /// The end, by a close frame: its code, if it has one, and reason (the peer's words: escape them).
    Closed(Option<u16>, String),
    /// The end without one, and what the operating system or the protocol says.
    Lost(String),
}

impl RawDialler {
    /// Dials with these authorities, and beyond this machine without TLS only if that is allowed.
    pub fn new(roots: Roots, allow_plain: bool) -> Self {
        Self(Dialler { limits: Arc::new(LinkLimits::default()), roots, allow_plain, said: BTreeMap::new() })
    }

    /// Opens a link. `path` begins with `/`.
    ///
    /// # Errors
    /// If it cannot be opened, or not within the default [`LinkLimits::open_timeout`].
    pub async fn dial(
        &mut self,
        scheme: Option<Scheme>,
        address: &HostPort,
        path: &str,
    ) -> Result<RawLink, RawError> {
        if let Some(scheme) = scheme {
            self.0.said.insert(address.clone(), scheme);
        }
        let opened = self.0.connect_at(address, path).await;
        opened.map(RawLink).map_err(|error| RawError(error.to_string().into()))
    }
}

/// Accepts raw links, plain ones only.
#[derive(Debug)]
pub struct RawListener(TcpListener);

impl RawListener {
    /// Listens there.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn bind(address: &HostPort) -> io::Result<Self> {
        Ok(Self(TcpListener::bind((address.host(), address.port())).await?))
    }

    /// Listens on this machine alone, on a free port.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn on_loopback() -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("127.0.0.1", 0)).await?))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next link; none of who dials and does not greet.
    ///
    /// # Errors
    /// If the listener is broken.
    pub async fn accept(&self) -> io::Result<Option<RawLink>> {
        let (stream, _) = self.0.accept().await?;
        Ok(ws::accept(stream, None, &LinkLimits::default()).await.ok().map(RawLink))
    }
}

/// One link.
#[derive(Debug)]
pub struct RawLink(Socket);

impl RawLink {
    /// Writes a text message.
    ///
    /// # Errors
    /// If the link is gone, or the peer does not take it within [`LinkLimits::write_stall`].
    pub async fn send(&mut self, text: &str) -> Result<(), RawError> {
        let sending = self.0.send(Message::text(text));
        match timeout(LinkLimits::default().write_stall, sending).await {
            Ok(sent) => sent.map_err(|error| RawError(error.to_string().into())),
            Err(_) => Err(RawError("the peer does not read".into())),
        }
    }

    /// What comes next. Nothing is lost if the future is dropped. After an end, only [`RawHeard::Lost`] comes.
    pub async fn next(&mut self) -> RawHeard {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => RawHeard::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => RawHeard::Binary(bytes.into()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    RawHeard::Closed(Some(frame.code.into()), frame.reason.as_str().to_owned())
                }
                Some(Ok(Message::Close(None))) => RawHeard::Closed(None, String::new()),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => {
                    RawHeard::Lost("end of stream".to_owned())
                }
                Some(Err(error)) => RawHeard::Lost(error.to_string()),
            };
        }
    }

    /// Sends a close frame; [`RawLink::next`] hears the answer.
    ///
    /// # Errors
    /// If the link is gone.
    pub async fn close(&mut self, code: u16) -> Result<(), RawError> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        let closing = self.0.send(Message::Close(Some(frame)));
        match timeout(LinkLimits::default().close_wait, closing).await {
            Ok(sent) => sent.map_err(|error| RawError(error.to_string().into())),
            Err(_) => Err(RawError("the peer does not read".into())),
        }
    }
}
