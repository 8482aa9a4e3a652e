//! Finds the car that a request on the main port is for, by its host name. All else is the main port's own.

use std::sync::Arc;

use hyper::{Request, StatusCode};
use p2p_shared::protocol::{ADMIN_PATH, LINK_PATH, MEDIA_PATH};

use crate::car::registry::elsewhere::Occupant;
use crate::context::Context;
use crate::http::domain::{Domain, HostedCar};
use crate::http::host;
use crate::http::response::Problem;
use crate::mesh::Mesh;
use crate::mesh::hop::handshake;
use crate::routes::elsewhere::moving;

/// Returns whom a request is for, or why it is for nobody; `None`: for the main port itself.
pub(crate) fn find<B>(
    context: &Context,
    request: &Request<B>,
) -> Option<Result<Occupant, Problem>> {
    let domain = context.config.domain.as_ref()?;
    // Whatever name programs dial this router by: no car has these paths.
    if matches!(
        request.uri().path(),
        LINK_PATH | MEDIA_PATH | ADMIN_PATH | handshake::PATH
    ) {
        return None;
    }
    let car = hosted(domain, request).transpose()?;
    Some(car.and_then(|car| occupant(context, domain, &car)))
}

/// Returns whom a request at a service port is for by its host name, or why that is another: a browser sends the
/// cookies of that name, which know no ports. `None`: by the port alone.
pub(crate) fn find_at<B>(
    context: &Context,
    request: &Request<B>,
    port: u16,
) -> Option<Result<Occupant, Problem>> {
    let domain = context.config.domain.as_ref()?;
    let car = hosted(domain, request).transpose()?;
    Some(car.and_then(|car| {
        let occupant = match car {
            HostedCar::At(number) if number == port => context.registry.occupant(port),
            HostedCar::Named(name) => context.registry.named(&name).remove(&port),
            HostedCar::At(_) | HostedCar::NoLabel => None,
        };
        occupant.ok_or_else(|| match context.registry.is_known(port) {
            true => Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "this is the service port {port}, and not of the car with this host name: ask for the name at the main port: nothing was run"
                ),
            ),
            false => moving(port),
        })
    }))
}

fn hosted<B>(domain: &Domain, request: &Request<B>) -> Result<Option<HostedCar>, Problem> {
    let host = host::name(request, |name| domain.car(name).is_some())?;
    Ok(host.and_then(|host| domain.car(&host)))
}

fn occupant(context: &Context, domain: &Domain, car: &HostedCar) -> Result<Occupant, Problem> {
    let (registry, domain) = (&context.registry, domain.as_str());
    match car {
        HostedCar::At(port) => {
            let gone = || gone(context, &format!("at service port {port}"));
            registry.occupant_anywhere(*port).ok_or_else(gone)
        }
        HostedCar::Named(name) => {
            let mut named = registry.named(name).into_iter();
            match (named.next(), named.next()) {
                (Some((_, occupant)), None) => Ok(occupant),
                (Some((port, _)), Some((other, _))) => Err(no_car(&format!(
                    "two cars are called '{name}', at the service ports {port} and {other}: give one of them another name, or ask for {port}.{domain} or {other}.{domain}"
                ))),
                (None, _) => Err(gone(context, &format!("called '{name}'"))),
            }
        }
        HostedCar::NoLabel => Err(no_car(&format!(
            "only a car whose name is letters from a to z, digits and dashes, 63 at the most, has a host name below {domain}: ask for another car at SERVICE_PORT.{domain}"
        ))),
    }
}

/// The answer where nothing is known of a car.
fn gone(context: &Context, which: &str) -> Problem {
    let is_new = |mesh: &Arc<Mesh>| !mesh.is_informed();
    if context.mesh.as_ref().is_some_and(is_new) {
        return Problem::unavailable(format!(
            "no car {which} is known yet, as this router has just come to its mesh: nothing was run; try again in a moment"
        ));
    }
    no_car(&format!(
        "no car {which} is connected, nor was one until a moment ago"
    ))
}

fn no_car(sentence: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("{sentence}: nothing was run"),
    )
}
