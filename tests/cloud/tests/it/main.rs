//! Whole clouds: all services, fake hypervisor, networks and volumes. Stories are told through the services' public
//! interfaces; without sockets where the cloud is one process, over HTTP where it is many.

mod client;
mod cloud;
mod conf;
mod crash;
mod outage;
mod processes;
mod project;
mod shapes;
mod stories;
mod surface;
mod wait;
