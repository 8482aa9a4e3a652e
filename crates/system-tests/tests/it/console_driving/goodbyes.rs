//! What the router's log says of consoles that have ended.

use std::process::Stdio;

use super::fixture::Fixture;
use crate::common::program;
use crate::common::until;

/// A connection that breaks off is one that was lost: its log line sends people looking.
#[tokio::test]
async fn a_subcommand_says_goodbye_whatever_became_of_it() {
    let fixture = Fixture::new().await;
    let mut ended = 0;
    let mut all_said_goodbye = async |what: &str, connections: usize| {
        ended += connections;
        let downs = || fixture.router.errors().matches("console down").count();
        until(&format!("the router tells of {what}"), || downs() >= ended).await;
        let errors = fixture.router.errors();
        assert!(!errors.contains("was killed"), "{what}: {errors}");
    };
    for (arguments, code) in [
        (&["send", "car", "nothing"][..], 1),
        (&["send", "nobody", "hello"], 4),
        (&["send", "car", "hello"], 0),
        (&["send", "car", "hello", "--json"], 0),
        (&["list"], 0),
    ] {
        let ended = program::run(&mut fixture.console(arguments).into()).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.errors);
        all_said_goodbye(&arguments.join(" "), 1).await;
    }
    // Nobody reads what it prints. `watch` has connected once before.
    for (arguments, connections) in [
        (&["send", "car", "hello", "--json"][..], 1),
        (&["watch"], 2),
    ] {
        let mut console = tokio::process::Command::from(fixture.console(arguments));
        let console = console.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = console.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().await.unwrap();
        all_said_goodbye(&format!("{arguments:?} unread"), connections).await;
    }
}
