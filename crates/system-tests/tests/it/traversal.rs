//! Names and paths that try to leave the command directory, in the ways that the public lists know
//! (dotdotpwn, SecLists' and PayloadsAllTheThings' traversal lists): none does, and each is the
//! caller's mistake.

use std::collections::BTreeSet;
use std::fs;

use crate::common;
use crate::common::World;
use crate::common::raw::RawCaller;

/// Ways to write "the folder above", plain, encoded once and twice, and oddly.
const UP: [&str; 26] = [
    "../",
    "..\\",
    "..%2f",
    "..%5c",
    "%2e%2e/",
    "%2e%2e%2f",
    "%2e%2e%5c",
    "%2E%2E%2F",
    ".%2e/",
    "..%252f",
    "..%255c",
    "%252e%252e%252f",
    "%252e%252e/",
    "..%c0%af",
    "..%c1%9c",
    "%c0%ae%c0%ae%c0%af",
    "%c0%ae%c0%ae/",
    "..%e0%80%af",
    "%uff0e%uff0e%u2215",
    "..%u2215",
    "....//",
    "....\\/",
    "..;/",
    "..%00/",
    ".../",
    "..%ef%bc%8f",
];

/// What they are after; the first is there.
const WANTED: [&str; 5] = [
    "secret",
    "etc/passwd",
    "etc%2fpasswd",
    "windows/win.ini",
    "secret%00.sh",
];

/// What stands before: nothing, or a name that is there.
const BEFORE: [&str; 4] = ["", "/", "lights/", "./"];

fn attempts() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for up in UP {
        for depth in [1, 2, 8] {
            for wanted in WANTED {
                for before in BEFORE {
                    all.insert(format!("{before}{}{wanted}", up.repeat(depth)));
                }
            }
        }
    }
    for odd in [
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "//etc/passwd",
        "\\\\host\\share",
        "C:\\secret",
        "file:///etc/passwd",
        ".",
        "..",
        "%2e",
        "lights/..",
        "lights/../../secret",
        "lights%2f..%2f..%2fsecret",
        "~/secret",
        "~root",
        "%00",
        "secret%00",
        "%0a",
        "%0d%0asecret",
        "lights//on/..",
        ".hidden",
        "lights/.hidden",
        "-rf",
        "lights/-rf",
        "|id",
        "$(id)",
        "`id`",
        ";id",
    ] {
        all.insert(odd.to_owned());
    }
    all
}

#[tokio::test]
async fn no_name_and_no_path_leaves_the_folder() {
    let world = World::open();
    world.script("lights/on", "echo on");
    let secret = "what is outside the folder";
    for outside in [world.note("secret"), world.folder.path().join("passwd")] {
        fs::write(
            &outside,
            format!(
                "#!/bin/sh\necho {secret}; touch {}\n",
                world.note("ran").display()
            ),
        )
        .unwrap();
        std::process::Command::new("chmod")
            .arg("+x")
            .arg(&outside)
            .status()
            .unwrap();
    }
    // And two ways out that are in the folder itself.
    std::os::unix::fs::symlink(world.note("secret"), world.commands().join("link")).unwrap();
    std::os::unix::fs::symlink(world.folder.path(), world.commands().join("links")).unwrap();
    let (_inner, port) = world.inner().await;

    let attempts = attempts();
    assert!(attempts.len() >= 500, "{}", attempts.len());
    let mut caller = RawCaller::connect(port).await;
    for attempt in &attempts {
        for target in [
            format!("/cgi?command={attempt}"),
            format!("/{attempt}"),
            format!("/cgi/{attempt}?command=lights/on"),
        ] {
            let answer = caller.get(&target).await;
            let text = answer.text();
            assert!(
                answer.status.is_client_error(),
                "{target}: {} {text}",
                answer.status
            );
            assert!(
                !text.contains(secret) && !text.contains("root:x:"),
                "{target}: {text}"
            );
            if answer
                .headers
                .get("connection")
                .is_some_and(|value| value == "close")
            {
                caller = RawCaller::connect(port).await;
            }
        }
    }
    // What the folder itself has of ways out is its owner's mistake, and no way out either.
    for link in ["link", "links/secret"] {
        let answer = common::get(port, &format!("/cgi?command={link}")).await;
        assert_eq!(answer.verdict(), (500, "no"), "{}", answer.text());
        assert!(answer.text().contains("leaves the command directory"));
    }
    assert!(!world.note("ran").exists());
    let fine = common::get(port, "/cgi?command=lights/on").await;
    assert_eq!((fine.status.as_u16(), fine.text().as_str()), (200, "on\n"));
}
