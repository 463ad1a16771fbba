//! A mail server on loopback that accepts every message and keeps it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// One message as it arrived.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: String,
    /// Headers and text, as they were sent.
    pub text: String,
}

pub struct MailServer {
    address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
}

impl MailServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = letters.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), kept) = (stream, kept.clone()) else { return };
                std::thread::spawn(move || receive(stream, &kept));
            }
        });
        Self { address, letters }
    }

    /// For `KAIROSROUTE_SMTP_URL`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Every message so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// The messages to one address.
    pub fn letters_to(&self, address: &str) -> Vec<Letter> {
        self.letters().into_iter().filter(|letter| letter.to == address).collect()
    }
}

/// One connection, until it ends.
fn receive(mut stream: TcpStream, letters: &Mutex<Vec<Letter>>) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    let (mut to, mut text, mut in_data) = (String::new(), String::new(), false);
    let mut answer = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes()).is_ok();
    if !answer("220 test") {
        return;
    }
    for line in reader.lines().map_while(Result::ok) {
        let reply = if in_data {
            if line != "." {
                text.push_str(&line);
                text.push('\n');
                continue;
            }
            in_data = false;
            let letter = Letter { to: std::mem::take(&mut to), text: std::mem::take(&mut text) };
            letters.lock().unwrap().push(letter);
            "250 taken"
        } else if let Some(address) = line.strip_prefix("RCPT TO:<") {
            to = address.trim_end_matches('>').to_owned();
            "250 ok"
        } else {
            in_data = line == "DATA";
            if in_data { "354 go on" } else { "250 ok" }
        };
        if !answer(reply) {
            return;
        }
    }
}
