//! Messages as a mail server on loopback receives them.

use super::*;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc as blocking,
};

const FROM: &str = "KairosRoute <noreply@example.com>";

fn settings(url: &str) -> Result<MailSettings, &'static str> {
    MailSettings::read(url, FROM, Duration::from_secs(5))
}

/// A mail server that answers every recipient with `recipient` and passes on what it receives.
fn server(recipient: &'static str) -> (String, blocking::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let (sender, received) = blocking::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let reader = BufReader::new(stream.try_clone().unwrap());
            let (mut text, mut in_data) = (String::new(), false);
            let mut answer = |line: &str| stream.write_all(format!("{line}\r\n").as_bytes());
            answer("220 test").unwrap();
            for line in reader.lines().map_while(Result::ok) {
                text.push_str(&line);
                text.push('\n');
                let reply = match (in_data, line.as_str()) {
                    (true, ".") => {
                        in_data = false;
                        let _ = sender.send(std::mem::take(&mut text));
                        "250 taken"
                    }
                    (true, _) => continue,
                    (false, "DATA") => {
                        in_data = true;
                        "354 go on"
                    }
                    (false, line) if line.starts_with("RCPT") => recipient,
                    (false, "QUIT") => "221 bye",
                    _ => "250 ok",
                };
                if answer(reply).is_err() {
                    break;
                }
            }
        }
    });
    (url, received)
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: "Line one\r\nBcc: everybody@example.com".to_owned(),
        text: "Hello, here is a link:\nhttps://gateway.example.com/reset\n".to_owned(),
        id: Some("msg_1".to_owned()),
    }
}

#[tokio::test]
async fn a_message_arrives_with_its_id_and_no_header_is_injected() {
    let (url, received) = server("250 ok");
    let mailer = Mailer::start(&settings(&url).unwrap()).unwrap();
    mailer.send(mail("ada@example.com")).await.unwrap();
    let text = received.recv().unwrap();
    assert!(text.contains("RCPT TO:<ada@example.com>"), "{text}");
    assert!(text.contains("Message-ID: <msg_1@example.com>"), "{text}");
    assert!(text.contains("https://gateway.example.com/reset"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
    mailer.queue(mail("grace@example.com")).unwrap();
    assert!(received.recv().unwrap().contains("grace@example.com"));
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_apart_from_what_may_be_tried_again() {
    let (url, _received) = server("550 no such person");
    let mailer = Mailer::start(&settings(&url).unwrap()).unwrap();
    assert_eq!(mailer.send(mail("ada@example.com")).await, Err(MailError::Refused));
    assert_eq!(mailer.send(mail("no address")).await, Err(MailError::Refused));
    let (url, _received) = server("450 later");
    let mailer = Mailer::start(&settings(&url).unwrap()).unwrap();
    assert_eq!(mailer.send(mail("ada@example.com")).await, Err(MailError::Unreachable));
}

#[test]
fn a_password_is_sent_over_tls_or_to_this_machine_only() {
    for url in [
        "smtps://u:p@mail.example.com",
        "smtp://u:p@mail.example.com:587?tls=required",
        "smtp://mail.example.com",
        "smtp://u:p@127.0.0.1:1025",
    ] {
        assert!(settings(url).is_ok(), "{url}");
    }
    for url in [
        "smtp://u:p@mail.example.com",
        "smtp://u:p@mail.example.com?tls=opportunistic",
        "https://mail.example.com",
        "mail.example.com",
        "smtps://u:p@mail.example.com?tls=none",
    ] {
        let error = settings(url).err().unwrap();
        assert!(!error.contains("example.com"), "{error}");
    }
    assert!(MailSettings::read("smtp://h", "nobody", Duration::from_secs(1)).is_err());
}
