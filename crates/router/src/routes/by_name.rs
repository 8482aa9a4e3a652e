//! Finds the car that a request on the main port is for, by its host name. All else is the main port's own.

use hyper::{Request, StatusCode};
use p2p_shared::protocol::{ADMIN_PATH, LINK_PATH, MEDIA_PATH};

use crate::car::registry::elsewhere::Occupant;
use crate::context::Context;
use crate::http::domain::{Domain, HostedCar};
use crate::http::host;
use crate::http::response::Problem;
use crate::mesh::hop::handshake;

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
    let host = match host::name(request) {
        Ok(host) => host?,
        Err(problem) => return Some(Err(problem)),
    };
    let car = domain.car(&host)?;
    Some(occupant(context, domain, &car).map_err(|sentence| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("{sentence}: nothing was run"),
        )
    }))
}

fn occupant(context: &Context, domain: &Domain, car: &HostedCar) -> Result<Occupant, String> {
    let registry = &context.registry;
    let port = match car {
        HostedCar::At(port) => *port,
        HostedCar::Named(name) => {
            let mut ports = registry.ports_named(name).into_iter();
            let is_gone = || {
                format!(
                    "no car called '{name}' is connected to this router, nor was one within the last minute"
                )
            };
            let port = ports.next().ok_or_else(is_gone)?;
            if let Some(other) = ports.next() {
                return Err(format!(
                    "two cars are called '{name}', at the service ports {port} and {other}: give one of them another name, or ask for {port}.{domain} or {other}.{domain}",
                    domain = domain.as_str()
                ));
            }
            port
        }
        HostedCar::NoLabel => {
            let domain = domain.as_str();
            return Err(format!(
                "only a car whose name is letters from a to z, digits and dashes, 63 at the most, has a host name below {domain}: ask for another car at SERVICE_PORT.{domain}"
            ));
        }
    };
    registry.occupant_anywhere(port).ok_or_else(|| {
        format!(
            "no car is connected to this router at service port {port}, nor was one within the last minute"
        )
    })
}
