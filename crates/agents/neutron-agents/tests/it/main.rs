//! A network on this machine, as guests on it see it. Guests are namespaces whose outer end is named as a guest's device;
//! sockets are made inside and used from here.

mod fake;
mod guest;
mod hosts;
mod machine;
mod real;
mod server;
mod six;
