//! Closes a listener without interrupting a call: connected clients that are not served yet get an answer, and only
//! then the port is closed.

use rustix::net::{Shutdown, shutdown};
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::gateway::Gateway;

/// Interval between checks of what still runs.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time for the server to stop taking connections.
const PAUSE: Duration = Duration::from_millis(10);
/// Time for a client to send its request's head and to take the answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY: &str = r#"{"error":{"message":"This process is shutting down; try again","type":"server_error","param":null,"code":"service_unavailable"},"detail":"This process is shutting down; try again"}"#;

/// Waits until no admitted request is left, or until `deadline`.
pub(super) async fn until_none_runs(gateway: &Arc<Gateway>, deadline: Instant) {
    while gateway.metrics.in_flight.get() > 0 && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
}

/// Closes a port whose server takes no more connections: those that wait in its queue are answered with 503.
pub(super) async fn close(listener: TcpListener) {
    sleep(PAUSE).await;
    let mut answers = tokio::task::JoinSet::new();
    while let Ok((connection, _)) = listener.accept() {
        answers.spawn_local(timeout(ANSWER_MAX, refuse(connection)));
    }
    // Other descriptors of the same socket are still open; this closes the socket itself.
    if let Err(error) = shutdown(&listener, Shutdown::Both) {
        tracing::warn!(error.cause = %error, "the port could not be closed ahead of the end");
    }
    while answers.join_next().await.is_some() {}
}

async fn refuse(connection: std::net::TcpStream) -> std::io::Result<()> {
    connection.set_nonblocking(true)?;
    let mut connection = TcpStream::from_std(connection)?;
    let mut head = Vec::with_capacity(1_024);
    // An answer before its request would be lost when the connection closes with unread bytes.
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if connection.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await?;
    // The rest of the client's data is read, so that the answer is not dropped.
    let mut rest = [0; 4_096];
    while connection.read(&mut rest).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_in_the_queue_of_a_closing_port_is_answered_and_later_ones_are_refused() {
        tokio::task::LocalSet::new().run_until(close_with_a_client_in_the_queue()).await;
    }

    async fn close_with_a_client_in_the_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        // The server's own descriptor stays open, as a stopping server's does for a while.
        let servers = listener.try_clone().unwrap();
        let closing = tokio::task::spawn_local(close(listener));
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with(BODY), "{answer}");
        drop(waiting);
        closing.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
        drop(servers);
    }
}
