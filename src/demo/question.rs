//! One DNS question over UDP, as any resolver asks it: what the world sees, not what the server remembers.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::net::UdpSocket;

/// How long an answer on loopback may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The A values of `name` at `server`, sorted.
///
/// # Errors
/// No answer, one to another question, or one that is not NOERROR.
pub async fn addresses(server: SocketAddr, name: &Name) -> Result<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    // A relative name would not be equal to the one that comes back.
    let mut name = name.clone();
    name.set_fqdn(true);
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::A));
    socket.send(&message.to_vec()?).await?;
    let mut bytes = [0; 1232];
    let length =
        tokio::time::timeout(TIMEOUT, socket.recv(&mut bytes)).await.context("the DNS server does not answer")??;
    let answer = Message::from_vec(&bytes[..length])?;
    if answer.id != message.id || answer.queries != message.queries {
        bail!("the DNS server answered another question");
    }
    if answer.response_code != ResponseCode::NoError {
        bail!("the DNS server answered {}", answer.response_code);
    }
    let mut values: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    values.sort();
    Ok(values)
}
