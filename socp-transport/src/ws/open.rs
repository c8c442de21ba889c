//! Opening links: dialling, and the server's half of the handshake.

use std::io;

use socp_core::wire::HostPort;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};
use tokio_tungstenite::{accept_hdr_async_with_config, client_async_with_config};

use super::{LinkLimits, Socket};

/// Read at once from a socket. The default of 128 KiB is kept per idle link and costs CPU (`limits.md`).
const READ_BUFFER: usize = 4 * 1024;

/// Gathered before a write; see also [`super::link::FRAGMENT`].
const WRITE_BUFFER: usize = 16 * 1024;

/// A backstop: the writer waits for a blocked socket before it adds the next fragment.
const MAX_WRITE_BUFFER: usize = 256 * 1024;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The address does not resolve, nobody listens, or the connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side does not speak WebSocket, or refused.
    #[error("WebSocket handshake: {0}")]
    Handshake(#[source] Box<tungstenite::Error>),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(std::time::Duration),
}

/// Opens a link to `ws://host:port/`.
///
/// # Errors
/// If it cannot be opened, or not in time.
pub(crate) async fn connect(address: &HostPort, limits: &LinkLimits) -> Result<Socket, OpenError> {
    let open = async {
        let request = format!("ws://{address}/").into_client_request().map_err(handshake)?;
        let stream = TcpStream::connect((address.host(), address.port())).await?;
        stream.set_nodelay(true)?;
        let opened = client_async_with_config(request, stream, Some(config(limits))).await;
        opened.map(|(socket, _response)| socket).map_err(handshake)
    };
    timeout(limits.open_timeout, open).await.unwrap_or(Err(OpenError::TimedOut(limits.open_timeout)))
}

/// Answers the handshake of somebody who dialled us. Any path is fine.
///
/// # Errors
/// If the handshake fails, comes from a web page of another host, or takes too long.
pub(crate) async fn accept(stream: TcpStream, limits: &LinkLimits) -> Result<Socket, OpenError> {
    let open = async {
        stream.set_nodelay(true)?;
        accept_hdr_async_with_config(stream, check_origin, Some(config(limits))).await.map_err(handshake)
    };
    timeout(limits.open_timeout, open).await.unwrap_or(Err(OpenError::TimedOut(limits.open_timeout)))
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
        error => OpenError::Handshake(Box::new(error)),
    }
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
