//! A stand-in for PostgreSQL that does at COMMIT what a real server can't be made to do on demand.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Database;
use crate::settings::{DatabaseSettings, SslMode};

/// Longest wait for anything in the tests of this room.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How COMMIT is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Commit {
    Confirmed,
    ConnectionLost,
    NeverAnswered,
    Garbled,
}

/// A server on a free port, for one test.
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    /// Every statement that came, in order; `connected` stands for each new connection.
    heard: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    pub(super) async fn start(commit: Commit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let accepting = heard.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepting.lock().unwrap().push("connected".to_owned());
                tokio::spawn(converse(stream, commit, accepting.clone()));
            }
        });
        Self { address, heard }
    }

    /// How many statements (or connections) began with `words`.
    pub(super) fn heard(&self, words: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|statement| statement.to_lowercase().starts_with(words)).count()
    }
}

/// A pool of at most one connection.
pub(super) fn database_at(address: SocketAddr) -> Database {
    Database::new(&DatabaseSettings {
        host: address.ip().to_string(),
        port: address.port(),
        database: "nobody".to_owned(),
        user: "nobody".to_owned(),
        password: "nothing".into(),
        ssl_mode: SslMode::Disable,
        ssl_root_cert: None,
        max_connections: NonZeroU32::MIN,
        acquire_timeout: PATIENCE * 2,
        application_name: "stand-in".to_owned(),
    })
    .unwrap()
}

/// One connection, until it ends; the errors of a broken one are its end.
async fn converse(mut stream: TcpStream, commit: Commit, heard: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    // The first message has no type.
    read_body(&mut stream).await?;
    stream.write_all(&message(b'R', &0_i32.to_be_bytes())).await?;
    stream.write_all(&message(b'Z', b"I")).await?;
    let mut status = b'I';
    loop {
        let kind = stream.read_u8().await?;
        let body = read_body(&mut stream).await?;
        match kind {
            b'Q' => {}
            // Sync: the pool tries each connection that comes back.
            b'S' => {
                stream.write_all(&message(b'Z', &[status])).await?;
                continue;
            }
            _ => return Ok(()),
        }
        let statement = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
        heard.lock().unwrap().push(statement.clone());
        match statement.to_lowercase().split([' ', ';']).next() {
            Some("begin") => status = b'T',
            Some("rollback") => status = b'I',
            Some("commit") => match commit {
                Commit::Confirmed => status = b'I',
                Commit::ConnectionLost => return Ok(()),
                Commit::NeverAnswered => std::future::pending().await,
                Commit::Garbled => stream.write_all(&message(b'?', b"")).await?,
            },
            _ => {}
        }
        stream.write_all(&message(b'C', b"DONE\0")).await?;
        stream.write_all(&message(b'Z', &[status])).await?;
    }
}

async fn read_body(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).unwrap();
    let mut body = vec![0; length - size_of::<i32>()];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(size_of::<i32>() + body.len()).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}
