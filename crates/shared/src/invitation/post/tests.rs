use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Answers one request with this text, and leaves the connection open until the client ends it.
async fn asked(most: u64, answer: &str) -> Result<Answer, PostError> {
    let router: RouterAddress = "router.test:8888".parse().unwrap();
    let asking = Asking {
        router: &router,
        pins: Vec::new(),
        path: "/x",
        bearer: "b",
        lost: "try again",
        stranger: "",
        most,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
        assert!(request.starts_with("post /x http/1.1\r\n"), "{request}");
        assert!(request.contains("host: router.test:8888"), "{request}");
        assert!(request.contains("authorization: bearer b"), "{request}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let asking = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let asking = timeout(
            Duration::from_secs(10),
            asking.exchange(Transport::Plain(stream)),
        );
        asking.await.expect("a whole answer needs no end")
    };
    tokio::join!(asking, answering).0
}

#[tokio::test]
async fn a_whole_answer_is_taken_however_its_length_is_said_and_half_of_one_is_none() {
    let date = "date: Sun, 06 Nov 1994 08:49:37 GMT";
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{date}\r\n{more}\r\n\r\n");
    for text in [
        head("content-length: 3") + "key",
        head("transfer-encoding: chunked") + "2\r\nke\r\n1\r\ny\r\n0\r\n\r\n",
    ] {
        let answer = asked(3, &text).await.unwrap();
        assert_eq!(&answer.body[..], b"key");
        let date = answer.date.unwrap().duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(date.unwrap().as_secs(), 784_111_777);
        let long = asked(2, &text).await.unwrap_err();
        assert!(matches!(long, PostError::Lost(..)), "{long}");
    }
}

#[tokio::test]
async fn a_refusal_is_shown_and_what_is_no_router_is_told_apart() {
    let refusal = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 3\r\n\r\nno\n");
    let why = async |text: &str| asked(USUAL, text).await.unwrap_err();
    let refused = why(&refusal("401 Unauthorized")).await;
    assert!(matches!(&refused, PostError::Refused(_, 401, said) if said == "no"));
    let older = why(&refusal("404 Not Found")).await;
    assert!(matches!(older, PostError::Older(_)), "{older}");
    let other = why("220 mail.test ESMTP\r\n").await;
    assert!(matches!(other, PostError::Lost(..)), "{other}");
}

#[tokio::test]
async fn what_is_not_reached_or_speaks_no_tls_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router: RouterAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    let key = Key::generate().unwrap();
    let pinned = key.clone().for_router(["a".repeat(52).parse().unwrap()]);
    let asking = post(&router, &pinned, "/x");
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    let (error, ()) = tokio::join!(asking, answering);
    let said = error.unwrap_err().to_string();
    assert!(
        said.contains("nothing was sent") && said.contains("not the router"),
        "{said}"
    );
    drop(listener);
    let said = post(&router, &key, "/x").await.unwrap_err().to_string();
    assert!(said.contains("is the router running"), "{said}");
}
