//! Opening links: dialling, and the server's half of the handshakes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use socp_core::server::Reach;
use socp_core::wire::HostPort;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{self, HeaderMap, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

use super::stream::half_close;
use super::{LinkLimits, Socket, Stream};
use crate::scheme::{PlainRefused, Scheme};
use crate::tls::{self, Roots, ServerTls};

/// [`Stream`] reads ahead; what tungstenite keeps is only where a frame begins.
const READ_BUFFER: usize = 512;

/// [`Stream`] gathers; tungstenite passes each fragment on at once.
const WRITE_BUFFER: usize = 0;

/// A backstop: the writer waits for a blocked socket before it adds the next fragment.
const MAX_WRITE_BUFFER: usize = 256 * 1024;

/// Of what somebody sends to a port that speaks something else, so much is read before the connection is
/// closed.
const DISCARD_BYTES: usize = 16 * 1024;

/// The first byte of a TLS handshake; no HTTP request starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a plain client at a TLS port is told (RFC 2817 §4.2), whatever program it is.
const WANTS_TLS: &str = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade, close\r\n\
    Content-Type: text/plain\r\n\r\nThis port speaks TLS: use wss://.\n";

/// What a TLS client at a plain port is told. It is no TLS record: every client then says that the other
/// side does not speak TLS.
const IS_PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n\
    This port speaks no TLS: use ws://.\n";

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The address does not resolve, nobody listens, or the connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side does not speak WebSocket, or refused.
    #[error("WebSocket handshake: {0}")]
    Handshake(#[source] Box<tungstenite::Error>),
    /// The TLS handshake failed, in words that say what to do.
    #[error("{0}")]
    Tls(Box<str>),
    /// We dialled plainly; what answers there speaks TLS.
    #[error("the server speaks TLS there: it is to be dialled as wss://")]
    WantsTls,
    /// We dialled over TLS; what answers there does not speak it.
    #[error("what answers there speaks no TLS; if it is meant to be plain, dial it as ws://")]
    IsPlain,
    /// Somebody dialled us, plainly at a TLS port or over TLS at a plain one, and was told.
    #[error("the peer {0}")]
    WrongPort(&'static str),
    /// A plain link beyond this machine.
    #[error(transparent)]
    Plain(#[from] PlainRefused),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(std::time::Duration),
}

impl OpenError {
    /// Whether what answered a plain dial may speak TLS: ours say so, others answer with what is no HTTP.
    fn hints_at_tls(&self) -> bool {
        match self {
            Self::WantsTls => true,
            Self::Handshake(error) => {
                matches!(&**error, tungstenite::Error::Protocol(ProtocolError::HttparseError(_)))
            }
            Self::Io(_)
            | Self::Tls(_)
            | Self::IsPlain
            | Self::WrongPort(_)
            | Self::Plain(_)
            | Self::TimedOut(_) => false,
        }
    }
}

/// Opens links to servers.
#[derive(Debug)]
pub(crate) struct Dialler {
    pub(crate) limits: Arc<LinkLimits>,
    /// Who vouches for servers' certificates.
    pub(crate) roots: Roots,
    /// Whether plain links may leave this machine.
    pub(crate) allow_plain: bool,
    /// Addresses of which somebody said how they are dialled.
    pub(crate) said: BTreeMap<HostPort, Scheme>,
}

impl Dialler {
    /// Opens a link to `/` at an address. One of which nobody said how it is dialled, as the standard's
    /// frames carry no scheme, is dialled plainly where plain links are allowed, and again over TLS if what answers
    /// wants that; elsewhere over TLS. Never the other way round: nobody on the way can talk us out of TLS.
    ///
    /// # Errors
    /// If it cannot be opened, or not in time.
    pub(crate) async fn connect(&self, address: &HostPort) -> Result<Socket, OpenError> {
        self.connect_at(address, "/").await
    }

    /// The same, if the address leads where it may.
    ///
    /// # Errors
    /// As [`Dialler::connect`], and if it leads elsewhere.
    pub(crate) async fn connect_within(&self, address: &HostPort, reach: Reach) -> Result<Socket, OpenError> {
        self.open(address, "/", reach).await
    }

    /// The same at a path, which begins with `/`.
    ///
    /// # Errors
    /// As [`Dialler::connect`].
    pub(crate) async fn connect_at(&self, address: &HostPort, path: &str) -> Result<Socket, OpenError> {
        self.open(address, path, Reach::EVERYWHERE).await
    }

    async fn open(&self, address: &HostPort, path: &str, reach: Reach) -> Result<Socket, OpenError> {
        let plain_is_fine = PlainRefused::unless(self.allow_plain, address.host(), address);
        let open = async {
            match (self.said.get(address), plain_is_fine) {
                (Some(Scheme::Wss), _) | (None, Err(_)) => self.over_tls(address, path, reach).await,
                (Some(Scheme::Ws), refused) => {
                    refused?;
                    self.plainly(address, path, reach).await
                }
                (None, Ok(())) => match self.plainly(address, path, reach).await {
                    Err(error) if error.hints_at_tls() => self.over_tls(address, path, reach).await,
                    opened => opened,
                },
            }
        };
        let limit = self.limits.open_timeout;
        timeout(limit, open).await.unwrap_or(Err(OpenError::TimedOut(limit)))
    }

    async fn plainly(&self, address: &HostPort, path: &str, reach: Reach) -> Result<Socket, OpenError> {
        let stream = Stream::plain(tcp(address, reach).await?);
        self.greet(Scheme::Ws, address, path, stream).await
    }

    async fn over_tls(&self, address: &HostPort, path: &str, reach: Reach) -> Result<Socket, OpenError> {
        let name = tls::server_name(address.host())
            .ok_or_else(|| OpenError::Tls("no certificate can be for this host's name".into()))?;
        let connector = self.roots.connector().await;
        let stream = tcp(address, reach).await?;
        let stream =
            connector.connect(name, stream).await.map_err(|error| match tls::handshake_failure(&error) {
                Some(why) => OpenError::Tls(why.into()),
                None => OpenError::IsPlain,
            })?;
        self.greet(Scheme::Wss, address, path, Stream::tls(stream)).await
    }

    async fn greet(
        &self,
        scheme: Scheme,
        address: &HostPort,
        path: &str,
        stream: Stream,
    ) -> Result<Socket, OpenError> {
        let request = format!("{scheme}://{address}{path}").into_client_request().map_err(handshake)?;
        let opened = client_async_with_config(request, stream, Some(config(&self.limits))).await;
        opened.map(|(socket, _response)| socket).map_err(handshake)
    }
}

/// Names and numbers are judged by what they resolve to: that is where it goes.
async fn tcp(address: &HostPort, reach: Reach) -> io::Result<TcpStream> {
    let resolved = lookup_host((address.host(), address.port())).await?;
    let mut trouble = io::Error::new(
        io::ErrorKind::PermissionDenied,
        "it leads to no address that this server dials on others' word (`dial`)",
    );
    for socket in resolved.filter(|socket| reach.allows(socket.ip())) {
        match TcpStream::connect(socket).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

/// Answers the handshakes of somebody who dialled us, TLS first if this is a port for it. Any path is fine.
///
/// # Errors
/// If a handshake fails, is not the port's, comes from a web page of another host, or takes too long.
pub(crate) async fn accept(
    stream: TcpStream,
    tls: Option<&ServerTls>,
    limits: &LinkLimits,
) -> Result<Socket, OpenError> {
    let open = async {
        stream.set_nodelay(true)?;
        let mut first = [0];
        stream.peek(&mut first).await?;
        let stream = match (tls, first == [TLS_HANDSHAKE]) {
            (None, false) => Stream::plain(stream),
            (Some(tls), true) => {
                let accepted = tls.acceptor().accept(stream).await;
                let accepted =
                    accepted.map_err(|error| OpenError::Tls(format!("TLS handshake: {error}").into()))?;
                Stream::tls(accepted)
            }
            (Some(_), false) => {
                return Err(turn_away(stream, WANTS_TLS, "dialled plainly at a TLS port").await);
            }
            (None, true) => return Err(turn_away(stream, IS_PLAIN, "dialled over TLS at a plain port").await),
        };
        accept_hdr_async_with_config(stream, check_origin, Some(config(limits))).await.map_err(handshake)
    };
    timeout(limits.open_timeout, open).await.unwrap_or(Err(OpenError::TimedOut(limits.open_timeout)))
}

async fn turn_away(mut stream: TcpStream, answer: &str, why: &'static str) -> OpenError {
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        half_close(stream, DISCARD_BYTES).await
    };
    // That the peer does not want to know is its own business.
    let _ = told.await;
    OpenError::WrongPort(why)
}

fn config(limits: &LinkLimits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(limits.frame_in_bytes))
        .max_frame_size(Some(limits.frame_in_bytes))
}

fn handshake(error: tungstenite::Error) -> OpenError {
    match error {
        tungstenite::Error::Io(error) => OpenError::Io(error),
        tungstenite::Error::Http(response) if wants_tls(&response) => OpenError::WantsTls,
        error => OpenError::Handshake(Box::new(error)),
    }
}

/// Whether a refusal is [`WANTS_TLS`], or another server's like it.
fn wants_tls<T>(response: &http::Response<T>) -> bool {
    let upgrade = response.headers().get(header::UPGRADE).and_then(|upgrade| upgrade.to_str().ok());
    response.status() == StatusCode::UPGRADE_REQUIRED
        && upgrade.is_some_and(|upgrade| upgrade.starts_with("TLS/"))
}

/// Browsers let any page open a WebSocket anywhere and tell us whose page it is: only our own host's may.
#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
fn check_origin(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if origin_is_ours(request.headers()) {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("foreign Origin".into()));
    *refusal.status_mut() = StatusCode::FORBIDDEN;
    Err(refusal)
}

fn origin_is_ours(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host_of =
        |text: &str| text.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    let origin = origin.to_str().ok().filter(|origin| origin.contains("://")).and_then(host_of);
    // A bare authority parses as a URI, too.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(host_of);
    origin.is_some() && origin == host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        origin_is_ours(&headers)
    }

    #[test]
    fn only_pages_of_our_own_host_may_connect() {
        assert!(ours(None, "chat.example:8765"));
        assert!(ours(Some("http://chat.example"), "chat.example:8765"));
        assert!(ours(Some("https://Chat.Example:3000"), "chat.example:8765"));
        assert!(ours(Some("http://[::1]:3000"), "[::1]:8765"));
        assert!(ours(Some("http://localhost:3000"), "localhost:8765"));
        assert!(!ours(Some("http://evil.example"), "chat.example:8765"));
        assert!(!ours(Some("http://chat.example.evil.example"), "chat.example:8765"));
        assert!(!ours(Some("null"), "null"));
        assert!(!ours(Some(""), "chat.example:8765"));
        assert!(!ours(Some("file:///home/page.html"), "chat.example:8765"));
    }
}
