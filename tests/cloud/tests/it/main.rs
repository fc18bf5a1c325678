//! Whole clouds, in one process each: all services, fake hypervisor, networks and volumes. Stories are told through
//! the services' public interfaces, without sockets.

mod client;
mod cloud;
mod crash;
mod project;
mod stories;
mod surface;
mod wait;
