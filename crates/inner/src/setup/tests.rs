use p2p_shared::setup::ServiceState;

use super::*;

#[test]
fn a_refusal_ends_the_waiting_and_a_router_that_is_away_does_not() {
    let link = |status: &str| {
        let (active, status) = ("active".to_owned(), status.to_owned());
        link_of(&ServiceState {
            active,
            status,
            ..Default::default()
        })
    };
    assert_eq!(
        link("link up: https://a:9000/").unwrap().unwrap(),
        "https://a:9000/"
    );
    let refused = link("refused: a:8888 refuses the key: revoked").unwrap();
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.ends_with("no link: a:8888 refuses the key: revoked"),
        "{refused}"
    );
    assert!(link("no link: no connection to a:8888").is_none());
    assert!(link("").is_none());
}

#[test]
fn a_directory_may_be_said_as_to_a_shell() {
    let at_home = |path: &str| at_home(path.to_owned(), Some("/home/pi"));
    assert_eq!(at_home("~/commands"), "/home/pi/commands");
    assert_eq!(at_home("/etc/~/x"), "/etc/~/x");
}

#[test]
fn a_camera_is_a_program_that_is_there_or_in_the_directory_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cam.worker"), "").unwrap();
    let check = |camera| super::check_camera(camera, dir.path()).is_ok();
    assert!(check("none") && check("sh -c x") && check("./cam.worker camera"));
    assert!(!check("cam.worker camera") && !check("./other") && !check("/no/such/cam"));
}
