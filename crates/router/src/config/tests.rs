use super::*;

fn refusal(arguments: &str) -> Option<String> {
    let words = std::iter::once("p2p-router").chain(arguments.split_whitespace());
    let options = Options::try_parse_from(words).unwrap();
    options.check().err().map(|error| {
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    })
}

#[test]
fn open_to_others_needs_saying_twice() {
    for fine in [
        "",
        "--bind 0.0.0.0",
        "--open --bind 127.0.0.1",
        "--open --bind 127.1.2.3",
        "--open --bind [::1]",
        "--open --bind ::ffff:127.0.0.1",
        "--open --open-to-everyone",
        "--open --open-to-everyone --bind 192.0.2.1",
    ] {
        assert_eq!(refusal(fine), None, "{fine}");
    }
    for risky in ["--open", "--open --bind 0.0.0.0", "--open --bind 192.0.2.1"] {
        let sentence = refusal(risky).unwrap();
        assert!(sentence.contains("--open-to-everyone"), "{sentence}");
    }
}

#[test]
fn what_a_subcommand_uses_is_said_on_either_side_of_it() {
    assert_eq!(refusal("health --proxy-protocol 127.0.0.1"), None);
    assert_eq!(refusal("--proxy-protocol 127.0.0.1 health"), None);
}

#[test]
fn a_certificate_and_its_key_go_together() {
    for half in ["--tls-cert a.pem", "--tls-key b.pem"] {
        let sentence = refusal(half).unwrap();
        assert!(sentence.contains("go together"), "{sentence}");
    }
    assert_eq!(refusal("--tls-cert a.pem --tls-key b.pem"), None);
}

#[test]
fn what_is_for_a_mesh_needs_one() {
    for alone in [
        "--mesh-address a:1",
        "--mesh-credentials a.creds",
        "--mesh-keys-stale 60",
    ] {
        let sentence = refusal(alone).unwrap();
        assert!(sentence.contains("without --mesh"), "{sentence}");
    }
    let sentence = refusal("--mesh nats://a:4222,tls://b --mesh-address a:1");
    if cfg!(feature = "mesh") {
        assert_eq!(sentence, None);
    } else {
        assert!(sentence.unwrap().contains("without the mesh"));
    }
}

#[test]
#[cfg(feature = "mesh")]
fn no_server_of_a_mesh_is_shown_the_password_of_another() {
    for servers in ["tls://u:p@a,nats://b", "nats://a,u:p@b", "u:p@a,u:q@b"] {
        let sentence = refusal(&format!("--mesh {servers}")).unwrap();
        assert!(sentence.contains("would be shown to all"), "{sentence}");
    }
    assert_eq!(refusal("--mesh u:p@a,u:p@b:4223"), None);
}
