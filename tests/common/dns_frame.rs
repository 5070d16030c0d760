//! DNS over TCP, for the proxies of the tests: messages with two octets of length before each (RFC 1035 §4.2.2).

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The next message; `None` when the other side is gone.
pub async fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

/// Sends a message.
pub async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let mut frame = u16::try_from(message.len()).expect("a DNS message").to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).await
}

/// Sends a message to a server over a connection of its own; the answer, if one comes.
pub async fn deliver(server: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(server).await.ok()?;
    write(&mut server, message).await.ok()?;
    read(&mut server).await
}

/// Whether a message asks for a change (RFC 2136 §2.2: opcode 5).
pub fn is_update(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| (flags >> 3) & 0x0f == 5)
}
