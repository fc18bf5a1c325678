//! Whole clouds, in one process each: all services, fake hypervisor, networks and volumes. Stories are told through
//! the services' public interfaces, without sockets.

mod client;
mod cloud;
mod crash;
mod outage;
mod project;
mod shapes;
mod stories;
mod surface;
mod wait;
