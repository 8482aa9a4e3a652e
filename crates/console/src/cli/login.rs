//! `login`: redeems an invitation for a key, and remembers router and key.

use std::process::ExitCode;

use p2p_shared::invitation::post::{self, PostError, Redeemer};
use p2p_shared::invitation::{Invitation, NotAnInvitation};
use p2p_shared::setup::{Questions, say};

use super::output::{self, OutputLine};
use crate::config::{LoginOptions, Options};
use crate::exit_code::{DENIED, ERROR, Failure, UNREACHABLE};
use crate::routers::{KnownRouter, RouterName, Routers};

pub(super) async fn run(options: &Options, login: &LoginOptions) -> anyhow::Result<ExitCode> {
    let routers = Routers::open()?;
    if login.list {
        let row = |it: &KnownRouter| format!("{}  {}", it.name, it.address);
        return output::print_lines(routers.list.iter().map(row).map(OutputLine::ForPeople));
    }
    if let Some(name) = &login.forget {
        if !routers.forget(name)? {
            let why =
                format!("there is no router called {name}: `p2p-console login --list` shows all");
            return Err(Failure::usage(why).into());
        }
        say(&format!(
            "{name} is forgotten; its key is good until it is revoked there"
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let given = login.invitation.as_ref().map(|text| text.parse());
    let given = given.transpose();
    let given = given.map_err(|why: NotAnInvitation| Failure::usage(why.to_string()))?;
    let mut invitation: Invitation = Questions { yes: false }.ask("The invitation", given, None)?;
    if let Some(said) = options.router.first() {
        invitation.router = said.address.clone();
    }
    let router = invitation.router.clone();
    let name = login.name.clone().or_else(|| RouterName::of(&router));
    let name = name
        .ok_or_else(|| Failure::usage("which name is the router to have here? Say --name NAME"))?;
    // Before the invitation is used up.
    let reserved = routers.reserve(name.clone())?;
    let (given, key, _) = post::redeem_key(&invitation, Redeemer::Console)
        .await
        .map_err(Failure::from)?;
    let file = reserved.keep(router.clone(), &key)?;
    say(&format!(
        "logged in to {router} by the key `{}` (role {}), which is in {}\n\n\
         `p2p-console` alone opens it from now on, `p2p-console --router {name}` if there are others.{}",
        given.name,
        given.role,
        file.display(),
        // curl checks the pinned public key even with `-k`.
        key.fingerprints()
            .first()
            .map_or_else(String::new, |it| format!(
                "\nFor curl the router is known by `-k --pinnedpubkey {}`.",
                it.for_curl()
            )),
    ));
    Ok(ExitCode::SUCCESS)
}

impl From<PostError> for Failure {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Unreached(error) => error.into(),
            PostError::Untrusted(..) | PostError::Refused(..) => {
                Self::new(DENIED, error.to_string())
            }
            PostError::Newer(..) => Self::new(ERROR, error.to_string()),
            error => Self::new(UNREACHABLE, error.to_string()),
        }
    }
}
