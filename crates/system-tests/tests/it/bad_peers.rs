//! Hostile and broken peers: on the main port of a router, and as the router of an inner. Each
//! gets a clear answer where it can get one, and nobody else is disturbed.

mod bounds;
mod fixture;
mod inners;
mod routers;
mod strangers;
